package snakepit_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/snakepit-go/snakepit"
	"github.com/snakepit-go/snakepit/worker"
)

// schemaCases are arguments x of the tools in testdata/hints.py: those that are
// taken, and those that are not.
var schemaCases = map[string]struct{ taken, refused []string }{
	"any":        {[]string{`null`, `[{"a": 1}]`, `{"$bytes": 0}`, `{"$date": "2026-01-31"}`}, nil},
	"none":       {[]string{`null`}, []string{`0`, `""`}},
	"bool":       {[]string{`true`, `false`}, []string{`0`, `"true"`, `null`}},
	"int":        {[]string{`0`, `-5`, `123456789012345678901234567890`}, []string{`1.5`, `true`, `"1"`}},
	"float":      {[]string{`0`, `-1.5e300`}, []string{`"1"`, `true`, `null`}},
	"str":        {[]string{`""`, `"é"`}, []string{`1`, `null`, `{"$date": "2026-01-31"}`}},
	"bytes":      {[]string{`{"$bytes": 0}`}, []string{`"AAE="`, `{"$bytes": -1}`, `{"$bytes": "0"}`, `{"$bytes": 0, "a": 1}`, `{}`, `null`}},
	"bytearray":  {[]string{`{"$bytes": 0}`}, []string{`"x"`, `[1]`}},
	"memoryview": {[]string{`{"$bytes": 0}`}, []string{`"x"`, `[1]`}},
	"datetime": {
		[]string{
			`"2026-01-31T12:30:00Z"`, `"2026-01-31T12:30:00.123456789+01:00"`, `"2026-01-31T12:30:00"`,
			`{"$datetime": "2026-01-31T12:30:00Z"}`, `{"$datetime": "2026-01-31T12:30:00"}`,
		},
		[]string{`"2026-01-31"`, `"yesterday"`, `"2026-02-31T12:30:00Z"`, `1`, `{"$date": "2026-01-31"}`, `{"$datetime": 1}`},
	},
	"date": {
		[]string{`"2026-01-31"`, `{"$date": "2026-01-31"}`},
		[]string{`"2026-02-31"`, `"31.1.2026"`, `20260131`, `{"$datetime": "2026-01-31T12:30:00Z"}`, `{"$date": "x"}`},
	},
	"time": {
		[]string{`"12:30:00Z"`, `"12:30:00"`, `"12:30"`, `{"$time": "12:30:00.5+01:00"}`},
		[]string{`"25:00:00Z"`, `"noon"`, `12`, `{"$time": "noon"}`},
	},
	"timedelta": {
		[]string{`"P1DT2H30M"`, `"PT0S"`, `"PT0.5S"`, `"-P1D"`, `"P2W"`, `90`, `0.5`},
		[]string{`"P"`, `"1 hour"`, `true`, `null`},
	},
	"uuid":          {[]string{`"123e4567-e89b-12d3-a456-426614174000"`}, []string{`"123e4567e89b12d3a456426614174000"`, `"x"`, `1`}},
	"decimal":       {[]string{`"19.90"`, `"-1E+5"`, `".5"`, `"NaN"`, `19.90`, `7`}, []string{`"1_0"`, `"abc"`, `""`, `true`}},
	"path":          {[]string{`"a/b"`}, []string{`1`, `["a"]`}},
	"list":          {[]string{`[]`, `[1, 2]`}, []string{`[1, "a"]`, `{}`, `"a"`}},
	"tuple":         {[]string{`[]`, `[1, 2]`}, []string{`[1, "a"]`, `{}`}},
	"tuple_of_two":  {[]string{`[1, "a"]`}, []string{`[1]`, `["a", 1]`, `[1, "a", 2]`}},
	"tuple_of_none": {[]string{`[]`}, []string{`[1]`}},
	"set":           {[]string{`[]`, `["a", "a"]`}, []string{`[1]`, `"a"`}},
	"frozenset":     {[]string{`["2026-01-31", {"$date": "2026-01-31"}]`}, []string{`["x"]`}},
	"dict":          {[]string{`{}`, `{"a": "1.5", "$b": 2}`}, []string{`{"a": "x"}`, `[]`}},
	"optional":      {[]string{`null`, `[null, "2026-01-31T00:00:00Z", {"$datetime": "2026-01-31T00:00:00"}]`}, []string{`["x"]`, `5`}},
	"union":         {[]string{`1`, `{"$bytes": 0}`, `["a"]`}, []string{`1.5`, `[1]`, `"a"`}},
	"literal":       {[]string{`"a"`, `1`, `true`, `null`, `"red"`}, []string{`"b"`, `2`, `false`, `"RED"`}},
	"enum":          {[]string{`"red"`, `2`, `{"$date": "2026-01-31"}`}, []string{`"RED"`, `3`, `{"$date": "2026-02-01"}`}},
	"flag":          {[]string{`0`, `1`, `3`}, []string{`4`, `-1`, `"READ"`}},
	"named_tuple":   {[]string{`[1.5]`, `[1, 2]`}, []string{`[]`, `[1, 2, 3]`, `["a"]`, `{"x": 1}`}},
	"dataclass": {
		[]string{`{"name": "a"}`, `{"name": "a", "due": "2026-01-31", "data": {"$bytes": 0}, "length": 5}`, `{"name": "a", "due": {"$date": "2026-01-31"}}`},
		[]string{`{}`, `{"name": 1}`, `{"name": "a", "due": "x"}`, `{"name": "a", "data": "x"}`, `{"name": "a", "more": 1}`},
	},
	"typed_dict": {[]string{`{}`, `{"item": {"name": "a"}, "pairs": [[1], [2, 3]]}`}, []string{`{"item": {}}`, `{"pairs": [[]]}`, `{"more": 1}`}},
	"annotated":  {[]string{`"2026-01-31"`}, []string{`"x"`}},
}

// Every argument that a worker takes is one that its schema admits, and none
// that it refuses is, as far as formats are asserted: they are notes to most
// validators, and RFC 3339 has no times without an offset.
func TestSchemasSayWhatToolsTake(t *testing.T) {
	e := openEngine(t, func(cfg *snakepit.Config) { cfg.Pools[0].Tools = "testdata/hints.py" })
	tools, err := e.Tools("")
	if err != nil {
		t.Fatal(err)
	}
	lax, strict := map[string]*jsonschema.Schema{}, map[string]*jsonschema.Schema{}
	for _, tool := range tools {
		lax[tool.Name] = compileSchema(t, tool.Name, tool.Parameters, false)
		strict[tool.Name] = compileSchema(t, tool.Name, tool.Parameters, true)
		if _, ok := schemaCases[tool.Name]; !ok && tool.Name != "extra" && tool.Name != "defaults" {
			t.Errorf("no cases for the tool %s", tool.Name)
		}
	}
	check := func(tool, args string, taken bool) {
		t.Helper()
		_, err := e.Execute(t.Context(), tool, json.RawMessage(args), snakepit.WithAttachments([]byte("x")))
		if fault, refused := errors.AsType[*worker.ToolError](err); err != nil && (!refused || fault.Kind != worker.InvalidArguments) {
			t.Fatalf("%s %s: %v", tool, args, err)
		}
		if (err == nil) != taken {
			t.Errorf("%s %s: the worker says %v", tool, args, err)
		}
		schema := strict[tool]
		if taken {
			schema = lax[tool]
		}
		if schema == nil {
			t.Fatalf("no tool %s", tool)
		}
		if err := schema.Validate(parseJSON(t, args)); (err == nil) != taken {
			t.Errorf("%s %s: the schema says %v", tool, args, err)
		}
	}
	for tool, cases := range schemaCases {
		for _, x := range cases.taken {
			check(tool, fmt.Sprintf(`{"x": %s}`, x), true)
		}
		for _, x := range cases.refused {
			check(tool, fmt.Sprintf(`{"x": %s}`, x), false)
		}
		check(tool, `{"x": null, "y": 1}`, false)
		check(tool, `{}`, false)
	}
	check("extra", `{"a": "2026-01-31", "b": {"$date": "2026-01-31"}}`, true)
	check("extra", `{"a": 5}`, false)

	// Each default that a schema names is one that can be given.
	for _, tool := range tools {
		if tool.Name != "defaults" {
			continue
		}
		var parameters struct {
			Properties map[string]struct {
				Default json.RawMessage
			}
		}
		if err := json.Unmarshal(tool.Parameters, &parameters); err != nil {
			t.Fatal(err)
		}
		given := map[string]any{}
		for name, property := range parameters.Properties {
			if property.Default != nil {
				given[name] = property.Default
			}
		}
		if len(given) != 6 { // all but the bytes
			t.Errorf("defaults in the schema: %v", given)
		}
		if _, ok := given["item"]; !ok || string(given["color"].(json.RawMessage)) != `{"$date":"2026-01-31"}` {
			t.Errorf("defaults in the schema: %s", tool.Parameters)
		}
		args, err := json.Marshal(given)
		if err != nil {
			t.Fatal(err)
		}
		check("defaults", string(args), true)
		with, err1 := e.Execute(t.Context(), "defaults", json.RawMessage(args))
		without, err2 := e.Execute(t.Context(), "defaults", nil)
		if err1 != nil || err2 != nil || string(with.Value) != string(without.Value) {
			t.Errorf("the defaults given: %v, %v; left out: %v, %v", with, err1, without, err2)
		}
	}
}

func compileSchema(t *testing.T, name string, text json.RawMessage, formats bool) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	if formats {
		c.AssertFormat()
	}
	if err := c.AddResource(name, parseJSON(t, string(text))); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile(name)
	if err != nil {
		t.Fatalf("the schema of %s: %v\n%s", name, err, text)
	}
	return schema
}

func parseJSON(t *testing.T, text string) any {
	t.Helper()
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return value
}
