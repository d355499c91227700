package pipelines

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"

	"pipeline/steps"
)

// object is a JSON object of the schema; encoding/json sorts its keys.
type object = map[string]any

// Schema returns the JSON Schema (draft 2020-12) of specs that use the kinds
// of reg. It is the same text for the same kinds. A template may stand for
// any value. What only Plan can know (names in templates, wires, axes) it
// leaves to Plan.
func Schema(reg steps.Registry) ([]byte, error) {
	var withs, required []any
	for _, name := range reg.Names() {
		params, err := steps.ParamsOf(reg[name].New())
		if err != nil {
			return nil, fmt.Errorf("schema of kind %s: %w", name, err)
		}
		is := object{"properties": object{"uses": object{"const": name}}, "required": []string{"uses"}}
		withs = append(withs, object{"if": is, "then": object{"properties": object{
			"with": schemaOfParams(params),
			"in":   schemaOfPorts(reg[name]),
		}}})
		if r := requiredOf(reg[name], params); len(r) > 0 {
			required = append(required, object{"if": is, "then": r})
		}
	}
	complete := object{"required": []string{"steps"}, "properties": object{"steps": object{"items": object{
		"required": []string{"id", "uses"}, "allOf": required}}}}
	root := object{
		"$schema": "https://json-schema.org/draft/2020-12/schema",
		"title":   "A campaign of pipeline",
		"type":    "object", "additionalProperties": false,
		"required": []string{"campaign"},
		"properties": object{
			"campaign": object{"type": "string", "pattern": campaignRE.String(), "description": "Name of the campaign."},
			"extends":  object{"type": "string", "description": "A base spec, relative to this one: params merge, steps merge by id."},
			"focus":    object{"enum": focuses, "default": "mixed", "description": "What the campaign is after."},
			"labels":   object{"type": "object", "additionalProperties": object{"type": "string"}, "description": "Free text for the reports."},
			"params":   object{"type": "object", "description": "Values for the templates; --set and --params change them."},
			"steps":    object{"type": "array", "minItems": 1, "description": "The steps, in any order: wires decide what runs first.", "items": object{"$ref": "#/$defs/step"}},
		},
		"if":   object{"required": []string{"extends"}}, // then the base may have the rest
		"else": complete,
		"$defs": object{
			"step":     schemaOfStep(reg, withs),
			"template": object{"type": "string", "pattern": `\$\{\{`, "description": "A template: ${{ params.name }}, ${{ cell.axis }}."},
			"matrix":   schemaOfMatrix(),
			"stepId":   object{"type": "string", "pattern": stepRE.String()},
			"stepIds": object{"anyOf": []any{object{"$ref": "#/$defs/stepId"},
				object{"type": "array", "items": object{"$ref": "#/$defs/stepId"}}}},
		},
	}
	b, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("print schema: %w", err)
	}
	return append(b, '\n'), nil
}

func schemaOfStep(reg steps.Registry, withs []any) object {
	policies, err := steps.ParamsOf(&policy{})
	if err != nil {
		panic("pipelines: " + err.Error())
	}
	fields := object{
		"id":     object{"$ref": "#/$defs/stepId", "description": "Name of the step."},
		"uses":   object{"enum": reg.Names(), "description": "Kind of the step."},
		"in":     object{"type": "object", "additionalProperties": object{"$ref": "#/$defs/stepIds"}, "description": "What feeds the ports."},
		"after":  object{"$ref": "#/$defs/stepIds", "description": "Steps to wait for, without data."},
		"matrix": object{"$ref": "#/$defs/matrix", "description": "Axes: one node for each combination of their values."},
		"when":   orTemplate(object{"type": "boolean"}, "Keeps the cells for which it is true."),
		"with":   object{"type": "object", "description": "Parameters of the kind."},
		"phase": object{"anyOf": []any{object{"type": "string"}, object{"type": "array", "items": object{"type": "string"}}},
			"description": "What the step is called when a run tells how far it is: one name, or those of its parts."},
	}
	for _, p := range policies {
		s := schemaOfParam(p)
		switch p.Name {
		case "retry":
			s = orTemplate(object{"anyOf": []any{object{"type": "integer", "minimum": 0, "maximum": 100}, s}}, p.Doc)
		case "pools":
			s = object{"anyOf": []any{object{"type": "string"}, s}, "description": p.Doc}
		}
		fields[p.Name] = s
	}
	return object{"type": "object", "additionalProperties": false, "required": []string{"id"}, "properties": fields, "allOf": withs}
}

func schemaOfMatrix() object {
	scalar := object{"type": []string{"string", "number", "boolean"}}
	named := object{"type": "object", "required": []string{"id"}, "properties": object{"id": scalar}}
	cell := object{"type": "object"}
	return object{
		"type":          "object",
		"description":   "Axes of the cells: the product in this order, the first axis slowest.",
		"propertyNames": object{"pattern": nameRE.String()},
		"properties": object{
			"like":    object{"$ref": "#/$defs/stepId", "description": "Takes the cells of another step."},
			"exclude": listOr(object{"anyOf": []any{cell, object{"$ref": "#/$defs/template"}}}, "Removes cells: partial maps, or templates that are true."),
			"include": listOr(cell, "Adds cells: a value for each axis."),
		},
		"additionalProperties": orTemplate(object{"type": "array", "minItems": 1,
			"items": object{"anyOf": []any{scalar, named}}}, "An axis: its values, scalars or maps with an id."),
	}
}

func listOr(one object, doc string) object {
	return object{"description": doc, "anyOf": []any{one, object{"type": "array", "items": one}}}
}

func orTemplate(s object, doc string) object {
	out := object{"anyOf": []any{s, object{"$ref": "#/$defs/template"}}}
	if doc != "" {
		out["description"] = doc
	}
	return out
}

func schemaOfPorts(k *steps.Kind) object {
	fields := object{}
	for _, p := range k.Ports {
		fields[p.Name] = object{"$ref": "#/$defs/stepIds", "description": p.Doc}
	}
	var others any = false
	if k.AnyPort {
		others = object{"$ref": "#/$defs/stepIds"}
	}
	return object{"type": "object", "properties": fields, "additionalProperties": others}
}

// requiredOf is what a step of this kind must have, if no base has it.
func requiredOf(k *steps.Kind, params []steps.Param) object {
	var names, ports, fields []string
	props := object{}
	for _, p := range params {
		if p.Required {
			names = append(names, p.Name)
		}
	}
	for _, p := range k.Ports {
		if p.Required {
			ports = append(ports, p.Name)
		}
	}
	if len(ports) > 0 {
		fields, props["in"] = append(fields, "in"), object{"required": ports}
	}
	if len(names) > 0 {
		fields, props["with"] = append(fields, "with"), object{"required": names}
	}
	if len(fields) == 0 {
		return nil
	}
	return object{"required": fields, "properties": props}
}

func schemaOfParams(params []steps.Param) object {
	fields := object{}
	for _, p := range params {
		fields[p.Name] = schemaOfParam(p)
	}
	return object{"type": "object", "properties": fields, "additionalProperties": false}
}

func schemaOfParam(p steps.Param) object {
	s := schemaOfType(p.Type, p)
	if _, open := s["anyOf"]; !open && s["type"] != "string" && len(s) > 0 {
		s = object{"anyOf": []any{s, object{"$ref": "#/$defs/template"}}}
	}
	s["description"] = p.Doc
	if d := p.Default; d != nil {
		if b, err := json.Marshal(d); err == nil && string(b) != "null" {
			s["default"] = json.RawMessage(b)
		}
	}
	return s
}

func schemaOfType(t reflect.Type, p steps.Param) object {
	switch t {
	case reflect.TypeFor[steps.Duration]():
		return object{"type": "string", "pattern": `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$|\$\{\{`}
	case envNameType:
		return object{"type": "string", "pattern": envNameRE.String() + `|\$\{\{`}
	case valueType:
		return object{}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return schemaOfType(t.Elem(), p)
	case reflect.Slice:
		return object{"type": "array", "items": orTemplate(schemaOfType(t.Elem(), p), "")}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": orTemplate(schemaOfType(t.Elem(), p), "")}
	case reflect.Struct:
		return schemaOfParams(p.Params)
	case reflect.String:
		if len(p.Enum) > 0 {
			return object{"anyOf": []any{object{"enum": p.Enum}, object{"$ref": "#/$defs/template"}}}
		}
		return object{"type": "string"}
	case reflect.Bool:
		return object{"type": "boolean"}
	}
	s := object{"type": "number"}
	if t.Kind() != reflect.Float64 {
		s["type"] = "integer"
	}
	for word, tag := range map[string]string{"minimum": p.Min, "maximum": p.Max} {
		if f, err := strconv.ParseFloat(tag, 64); err == nil {
			s[word] = f
		}
	}
	return s
}
