package pipelines_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"pipeline/internal/yaml"
	"pipeline/pipelines"
)

// evaluate gives the plain value of a template in JSON, or its error.
func evaluate(t *testing.T, template string) (string, error) {
	t.Helper()
	quoted, err := json.Marshal(template) // a JSON string is a YAML one
	if err != nil {
		t.Fatal(err)
	}
	spec := fmt.Sprintf(`{campaign: e, params: {n: 4, f: 0.5, s: abc, t: true, nil: ~, big: 9223372036854775807,
  list: [3, 1, 2], mixed: [1, a], m: {z: 1, a: {b: 2}}, many: [{id: x, v: 1}, {id: y, v: 2}]},
  steps: [{id: setup, uses: init}, {id: c, uses: cell_run, in: {setup: setup}, with: {concurrency: 1,
  extra: %s}}]}`, quoted)
	p, err := planOf(spec)
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(p.Nodes[1].Params.(*cellRun).Extra.V)
	if err != nil {
		t.Fatal(err)
	}
	return string(text), nil
}

func planOf(spec string, set ...string) (*pipelines.Plan, error) {
	c, err := pipelines.Load(func(string) ([]byte, error) { return []byte(spec), nil }, "spec.yaml")
	if err != nil {
		return nil, err
	}
	return c.Plan(testKinds(), pipelines.PlanOptions{Set: set})
}

func TestExpressions(t *testing.T) {
	for _, c := range []struct{ template, want string }{
		{"${{ params.n * 2 + 1 }}", "9"},
		{"${{ 5 / 2 }}", "2.5"},
		{"${{ 2 ** 10 }}", "1024"},
		{"${{ -7 % 3 }}", "-1"},
		{"${{ params.f + params.n }}", "4.5"},
		{"${{ params.s + 'x' }}", `"abcx"`},
		{"${{ params.list[0] + params.list[-1] }}", "5"},
		{"${{ params.mixed[0] + 1 }}", "2"},
		{"${{ params.mixed[1] + 'b' }}", `"ab"`},
		{"${{ params.t ? 1 : 'a' }}", "1"},
		{"${{ not params.t || params.n > 3 && params.s startsWith 'a' }}", "true"},
		{"${{ params.nil }}", "null"},
		{"${{ params.nil ?? 7 }}", "7"},
		{"${{ params.m.a }}", `{"b":2}`},
		{"${{ params.m['z'] }}", "1"},
		{"${{ 1..3 }}", "[1,2,3]"},
		{"${{ map(params.many, .v * 2) }}", "[2,4]"},
		{"${{ filter(params.list, # > 1) | sort() }}", "[2,3]"},
		{"${{ find(params.many, .id == 'y').v }}", "2"},
		{"${{ all(params.list, # > 0) and any(params.list, # == 3) and one(params.list, # == 3) and none(params.list, # > 9) }}", "true"},
		{"${{ count(params.list, # > 1) }}", "2"},
		{"${{ [len(params.s), abs(-2), ceil(1.2), floor(1.8), round(1.5), min(2, 1), max([1, 5]), mean([1, 2]), median([1, 9, 2])] }}", "[3,2,2,1,2,1,5,1.5,2]"},
		{"${{ {a: {b: '}}'}}.a.b }}", `"}}"`},
		{"${{ 'b' in ['a', 'b'] and 'z' in params.m }}", "true"},
		{"${{ 1 <= 2 <= 3 }}", "true"},
		{"${{ int('12') + int(3.9) + int(1) }}", "16"},
		{"${{ float('1.5') }}", "1.5"},
		{"${{ pow2(1, 100) }}", "[1,2,4,8,16,32,64]"},
		{"${{ pow2(3, 2) }}", "[]"},
		{"${{ params.big - 1 }}", "9223372036854775806"},
		{"a ${{ params.big }} b", `"a 9223372036854775807 b"`},
		{"${{ 0.1 }}s ${{ 100000000.0 }} ${{ 1e300 }}", `"0.1s 100000000 1e+300"`},
		{"$${{ x }}", `"${{ x }}"`},
		{"a$${{b}} ${{ 1 }}", `"a${{b}} 1"`},
		{"}} {{ $x", `"}} {{ $x"`},
	} {
		got, err := evaluate(t, c.template)
		if err != nil || got != c.want {
			t.Errorf("%s\n got %s %v\nwant %s", c.template, got, err, c.want)
		}
	}
}

// TestExpressionFaults has a case for each fault of expr that a spec could
// meet: what it lets pass, wraps silently, orders at random, or never ends.
func TestExpressionFaults(t *testing.T) {
	for _, c := range []struct{ what, template, want string }{
		{"unknown names in a map", "${{ params.nn }}", "params has no nn"},
		{"unknown names by index", "${{ params['nn'] }}", "params has no nn"},
		{"hyphens", "${{ params.n-dtype }}", "unknown name dtype"},
		{"mistyped comparison", "${{ params.n == '4' }}", "mismatched types int and string"},
		{"integers wrap: +", "${{ params.big + 1 }}", "does not fit in 64 bits"},
		{"integers wrap: -", "${{ -params.big - 2 }}", "does not fit in 64 bits"},
		{"integers wrap: *", "${{ params.big * params.n }}", "does not fit in 64 bits"},
		{"integers wrap in a list", "${{ params.mixed[0] + params.big }}", "does not fit in 64 bits"},
		{"division by zero gives infinity", "${{ 7 / (params.n - 4) }}", "divided by zero"},
		{"not a number", "${{ 0.0 / 0.0 }}", "divided by zero"},
		{"remainder by zero", "${{ 7 % (params.n - 4) }}", "divide by zero"},
		{"large floats as integers", "${{ int(1e30) }}", "is no integer"},
		{"the clock", "${{ now() }}", "the function now is not known here"},
		{"the clock", "${{ date('2024-01-01') }}", "the function date is not known here"},
		{"the clock", "${{ timezone('UTC') }}", "the function timezone is not known here"},
		{"the environment", "${{ $env.params }}", "$env is not known here"},
		{"lossy numbers", "${{ fromJSON('12345678901234567') }}", "the function fromJSON is not known here"},
		{"methods", "${{ params.s.String() }}", "only functions can be called"},
		{"reduce stays when it is disabled", "${{ reduce(1..30, #acc + #acc, 'xxxxxxxxxx') }}", "the function reduce is not known here"},
		{"groupBy is random", "${{ groupBy(params.list, #) }}", "the function groupBy is not known here"},
		{"let doubles", "${{ let a = 'x'; a + a }}", "let is not known here"},
		{"nested predicates", "${{ all(1..300, all(1..300, all(1..300, true))) }}", "nested deeper than 2"},
		{"iterations", "${{ all(1..400, all(1..400, true)) }}", "takes more than 100000 steps"},
		{"ranges", "${{ len(1..1000000) }}", "more than 100000 numbers"},
		{"nested ranges", "${{ map(1..1000, 1..1000) }}", "bytes of text and lists"},
		{"ranges that overflow", "${{ len(-params.big..params.big) }}", "more than 100000 numbers"},
		{"lists within lists", "${{ map(1..60000, [#, #, #]) }}", "memory budget exceeded"},
		{"large results", "${{ 1..20000 }}", "more than 10000 values"},
		{"nodes", "${{ 0" + strings.Repeat(" + 1", 600) + " }}", "exceeds maximum allowed nodes"},
		{"bytes", "${{ '" + strings.Repeat("x", 5000) + "' }}", "more than the limit of 4096"},
		{"text that doubles", "${{ ['xxxxxxxxxx']" + strings.Repeat(" | map(# + #)", 40) + " }}", "bytes of text"},
		{"text that doubles, of unknown type", "${{ [params.mixed[1]]" + strings.Repeat(" | map(# + #)", 40) + " }}", "bytes of text"},
		{"text that grows by replace", "${{ 'aaaaaaaaaa'" + strings.Repeat(" | replace('a', 'aaaaaaaaaa')", 12) + " }}", "bytes of text"},
		{"text that grows by join", "${{ join(map(1..70000, 'xxxxxxxxxxxxxxxx'), '') }}", "bytes of text"},
		{"repeat", "${{ repeat('x', 1000000000) }}", "the function repeat is not known here"},
		{"lists that double", "${{ concat(params.list, params.list) }}", "the function concat is not known here"},
		{"long texts", "${{ join(map(1..70000, 'x')) }}", "text of 70000 bytes"},
		{"regular expressions", "${{ params.s matches '(' }}", "missing closing )"},
		{"nothing in text", "x${{ params.nil }}", "nothing cannot stand within text"},
		{"a list in text", "x${{ params.list }}", "a list cannot stand within text"},
		{"a map in text", "x${{ params.m }}", "a map cannot stand within text"},
		{"string of a list", "${{ string(params.list) }}", "a list has no text"},
		{"functions as values", "${{ len }}", "len is a function"},
		{"maps in the order of Go", "${{ map(params.m, #) }}", "takes only array"},
		{"index out of range", "${{ params.list[7] }}", "out of range"},
		{"no expression", "${{ }}", "unexpected token EOF"},
	} {
		start := time.Now()
		got, err := evaluate(t, c.template)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %.80s\n got %.200s %v\nwant an error with %q", c.what, c.template, got, err, c.want)
		}
		if took := time.Since(start); took > 5*time.Second { // far above the watchdog: something hung
			t.Errorf("%s: took %v", c.what, took)
		}
		errs, ok := err.(yaml.Errors)
		if ok && (len(errs) != 1 || errs[0].Pos.Line != 4) {
			t.Errorf("%s: not one error at the template: %v", c.what, err)
		}
	}
}

// TestMapOrder evaluates what expr gives in the order of Go maps.
func TestMapOrder(t *testing.T) {
	m := "{k1: 1, k2: 2, k3: 3, k4: 4, k5: 5, k6: 6, k7: 7, k8: 8, k9: 9}"
	for range 20 {
		got, err := evaluate(t, "${{ [join(keys("+m+"), ''), values("+m+"), toPairs({b: 1, a: 2}), toJSON({b: 1, a: [2.0, nil]})] }}")
		if want := `["k1k2k3k4k5k6k7k8k9",[1,2,3,4,5,6,7,8,9],[["a",2],["b",1]],"{\"a\":[2,null],\"b\":1}"]`; err != nil || got != want {
			t.Fatalf("got %s %v", got, err)
		}
	}
}
