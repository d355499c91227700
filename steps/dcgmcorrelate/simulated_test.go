package dcgmcorrelate

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"pipeline/internal/dcgm"
	"pipeline/internal/prom"
	"pipeline/internal/vllmsim"
	"pipeline/lake/perf"
	"pipeline/steps"
)

// Each fault of the simulated exporter is found by its check, in what a cell
// would have scraped of it.
func TestFaultsOfTheSimulation(t *testing.T) {
	cases := []struct {
		fault, code, status, text, rigor string
	}{
		{"", "DC04", dcgm.Pass, "", dcgm.RigorL3},
		{"idle", "DC04", dcgm.Fail, "GPUs idle during the window", dcgm.RigorNone},
		{"busy_before", "DC05", dcgm.Warn, "load existed before the bench", dcgm.RigorL3},
		{"co_tenant", "DC06", dcgm.Warn, "co-tenant on GPU 2 of vllmsim-node", dcgm.RigorL3},
		{"other_node", "DC01", dcgm.Fail, "no series matches GPUs [0 1] of node vllmsim-node", dcgm.RigorNone},
		{"other_pod", "DC06", dcgm.Fail, "used by pod else-0, which does not serve the cell (vllm-0 does)", dcgm.RigorNone},
		{"half", "DC03", dcgm.Fail, "cell uses 2 GPUs, series found for 1", dcgm.RigorNone},
		{"missing", "DC01", dcgm.Fail, "commented out in default-counters.csv", dcgm.RigorNone},
		{"empty", "DC02", dcgm.Fail, "and no sample of a GPU", dcgm.RigorNone},
		{"constant", "DC08", dcgm.Fail, "the exporter is stale", dcgm.RigorNone},
		{"sentinel", "DC09", dcgm.Fail, `DCGM's sentinel for "not available"`, dcgm.RigorNone},
		{"percent", "DC09", dcgm.Fail, "the source seems to scale ratios to percent", dcgm.RigorNone},
		{"gap", "DC11", dcgm.Fail, "without a collection of GPU", dcgm.RigorNone},
		{"thermal", "DC12", dcgm.Warn, "THROTTLED: GPU 0 of vllmsim-node: 0x40", dcgm.RigorL3},
		{"power_cap", "DC12", dcgm.Pass, "software power cap on GPU 0", dcgm.RigorL3},
		{"xid", "DC13", dcgm.Fail, "GPU 1 of vllmsim-node: XID 79", dcgm.RigorNone},
		{"ecc", "DC13", dcgm.Fail, "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL went from 0 to 1", dcgm.RigorNone},
		{"energy", "DC14", dcgm.Warn, "apart", dcgm.RigorL3},
		{"straggler", "DC15", dcgm.Warn, "a straggler holds up the others", dcgm.RigorL3},
	}
	// All at once: they wait, and need little of the machine.
	reports := make([]*dcgm.Report, len(cases))
	var all sync.WaitGroup
	for i, c := range cases {
		all.Go(func() { reports[i] = simulate(t, c.fault) })
	}
	all.Wait()
	for i, c := range cases {
		t.Run("fault="+c.fault, func(t *testing.T) {
			report := reports[i]
			if report == nil {
				t.Fatal("there is no report")
			}
			got, ok := report.Check(c.code)
			if !ok || got.Status != c.status || !strings.Contains(got.Text, c.text) || report.Rigor != c.rigor {
				t.Errorf("%s is %s, rigor %s: %s\n%s", c.code, got.Status, report.Rigor, got.Text, report.Gap)
			}
			if !report.Simulated {
				t.Error("the report does not say that it is of a simulation")
			}
		})
	}
}

// idleLooks is how often the exporter is looked at before the load: for three
// collections, of which one lies wholly before it.
const idleLooks = 12

// simulate measures some seconds of load on a simulated server whose
// exporter has a fault, and correlates what was scraped meanwhile.
func simulate(t *testing.T, fault string) *dcgm.Report {
	config := vllmsim.Defaults()
	config.Model, config.ModelShape, config.Hardware, config.TensorParallelSize = "m", "llama-3.1-8b", "h100_sm90", 2
	config.DCGM.Interval, config.DCGM.Pod, config.Faults.DCGM = 200*time.Millisecond, "bench/vllm-0", fault
	sim, err := vllmsim.New(config)
	if err != nil {
		t.Error(err)
		return nil
	}
	defer sim.Close()
	web := httptest.NewServer(sim)
	defer web.Close()

	ctx, cancel := context.WithCancel(t.Context())
	samples, done, quiet := &dcgm.Samples{}, make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		looks := 0
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			if page, err := prom.Fetch(ctx, http.DefaultClient, web.URL+"/dcgm/metrics"); err == nil {
				at := time.Now().UnixMilli()
				for _, name := range page.Names() {
					found, _ := page.Find(name)
					for _, s := range found {
						samples.Add(name, s.Labels, at, s.Value)
					}
				}
			}
			if looks++; looks == idleLooks {
				close(quiet)
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
	<-quiet
	from := time.Now()
	load(t, web.URL, 4, 2500*time.Millisecond)
	to := time.Now()
	cancel()
	<-done

	m := measuredBut(100*time.Millisecond, from, to, perf.Setting{"tp": "2", "pp": "1", "dp": "1", "ceiling_key": "h100_sm90"})
	m.Simulated = true
	one := newRun(m)
	one.step.Node, one.step.Indices, one.step.Pods = "vllmsim-node", []int{0, 1}, []string{"vllm-0"}
	one.step.CollectInterval = steps.Duration(config.DCGM.Interval)
	text, err := dcgm.NewCapture(dcgm.Source{Kind: dcgm.FromScrape, Host: "test"}, samples, 0).JSON()
	if err != nil {
		t.Error(err)
		return nil
	}
	one.files[dcgm.CaptureFile] = text
	report, err := one.do(t)
	if report == nil {
		t.Error(err)
	}
	return report // of nothing is a part of an answer, and so an error beside it is no fault
}
