package server_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	snakepitv1 "github.com/snakepit-go/snakepit/api/snakepit/v1"
	"github.com/snakepit-go/snakepit/server"
)

var codec connect.Codec = server.JSONCodec

func isText(fd protoreflect.FieldDescriptor) bool {
	return proto.GetExtension(fd.Options(), snakepitv1.E_JsonText).(bool)
}

// eachMessage calls f with every message of the API, nested ones too.
func eachMessage(f func(protoreflect.MessageDescriptor)) {
	var walk func(protoreflect.MessageDescriptors)
	walk = func(list protoreflect.MessageDescriptors) {
		for i := range list.Len() {
			if md := list.Get(i); !md.IsMapEntry() {
				f(md)
				walk(md.Messages())
			}
		}
	}
	protoregistry.GlobalFiles.RangeFilesByPackage("snakepit.v1", func(file protoreflect.FileDescriptor) bool {
		walk(file.Messages())
		return true
	})
}

// texts are what JSON fields hold in the tests.
var texts = []string{
	`null`, `true`, `0`, `-1.5e300`, `123456789012345678901234567890`, `9007199254740993`, `""`, `"<&>\u2028"`,
	`"\"\\}"`, `"ä😀"`, `[]`, `{}`, `[[],{"a":[1,{"b":null}]}]`, `{"result":{"vars":"e30="},"$bytes":0}`, `{"a":1,"a":2}`,
}

// filled returns a message whose every field has a value.
func filled(mt protoreflect.MessageType, r *rand.Rand, depth int) protoreflect.Message {
	m := mt.New()
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		one := func() protoreflect.Value { return scalar(fd, r) }
		if md := fd.Message(); md != nil && !fd.IsMap() {
			if depth == 0 {
				continue
			}
			one = func() protoreflect.Value {
				if fd.IsList() {
					return message(m.NewField(fd).List().NewElement().Message().Type(), r, depth-1)
				}
				return message(m.NewField(fd).Message().Type(), r, depth-1)
			}
		}
		switch {
		case fd.IsMap():
			entries := m.Mutable(fd).Map()
			for j := range 2 {
				key := protoreflect.ValueOfString(fmt.Sprintf("kéy\"%d", j)).MapKey()
				if vd := fd.MapValue(); isText(fd) {
					entries.Set(key, one())
				} else if vd.Message() != nil {
					entries.Set(key, message(entries.NewValue().Message().Type(), r, depth-1))
				} else {
					entries.Set(key, scalar(vd, r))
				}
			}
		case fd.IsList():
			for range 2 {
				m.Mutable(fd).List().Append(one())
			}
		default:
			m.Set(fd, one())
		}
	}
	return m
}

func message(mt protoreflect.MessageType, r *rand.Rand, depth int) protoreflect.Value {
	if mt.Descriptor().FullName() == "google.protobuf.Timestamp" || mt.Descriptor().FullName() == "google.protobuf.Duration" {
		m := mt.New()
		m.Set(m.Descriptor().Fields().ByName("seconds"), protoreflect.ValueOfInt64(r.Int64N(1<<32)))
		return protoreflect.ValueOfMessage(m)
	}
	return protoreflect.ValueOfMessage(filled(mt, r, depth))
}

func scalar(fd protoreflect.FieldDescriptor, r *rand.Rand) protoreflect.Value {
	switch fd.Kind() {
	case protoreflect.BytesKind:
		if isText(fd) {
			return protoreflect.ValueOfBytes([]byte(texts[r.IntN(len(texts))]))
		}
		return protoreflect.ValueOfBytes([]byte{0, 0xff, byte(r.Uint32())})
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(`a "quoted" { [ string, \ ä`)
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(2)
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(-7)
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(-1 << 60)
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(1<<63 + 1)
	default:
		panic(fmt.Sprintf("the test knows no value for the kind of %s", fd.FullName()))
	}
}

func TestJSONOfEveryMessage(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	messages, texts := 0, 0
	eachMessage(func(md protoreflect.MessageDescriptor) {
		mt, err := protoregistry.GlobalTypes.FindMessageByName(md.FullName())
		if err != nil {
			t.Fatal(err)
		}
		messages++
		for i := range md.Fields().Len() {
			if fd := md.Fields().Get(i); isText(fd) {
				texts++
				if fd.Kind() != protoreflect.BytesKind {
					t.Errorf("%s is marked json_text and is no bytes field", fd.FullName())
				}
			}
		}
		for range 20 {
			roundTrip(t, mt, filled(mt, r, 3).Interface())
		}
		roundTrip(t, mt, mt.New().Interface())
	})
	if messages < 40 || texts < 8 {
		t.Errorf("only %d messages with %d texts were found", messages, texts)
	}
}

// roundTrip encodes a message, compares the JSON with protojson's, and decodes
// it.
func roundTrip(t *testing.T, mt protoreflect.MessageType, m proto.Message) {
	t.Helper()
	data, err := codec.Marshal(m)
	if err != nil {
		t.Fatalf("encode %v: %v", m, err)
	}
	if !json.Valid(data) {
		t.Fatalf("%v became invalid JSON %s", m, data)
	}
	back := mt.New().Interface()
	if err := codec.Unmarshal(data, back); err != nil {
		t.Fatalf("decode %s: %v", data, err)
	}
	if !proto.Equal(m, back) {
		t.Fatalf("%v became %v by %s", m, back, data)
	}
	// What stands in the place of base64 must be the only difference.
	plain, err := protojson.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if g, w := encoded(t, decoded(t, data)), encoded(t, expand(t, decoded(t, plain), mt.Descriptor())); g != w {
		t.Fatalf("%v is\n%s in JSON, want\n%s", m, g, w)
	}
}

func decoded(t *testing.T, text []byte) (v any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

func encoded(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// expand does to decoded JSON what the codec does to its text.
func expand(t *testing.T, v any, md protoreflect.MessageDescriptor) any {
	object, ok := v.(map[string]any)
	if !ok || md.ParentFile().Package() == "google.protobuf" {
		return v
	}
	for name, value := range object {
		fd := md.Fields().ByJSONName(name)
		element := func(v any) any {
			switch {
			case isText(fd):
				text, err := base64.StdEncoding.DecodeString(v.(string))
				if err != nil {
					t.Fatal(err)
				}
				return decoded(t, text)
			case fd.IsMap() && fd.MapValue().Message() != nil:
				return expand(t, v, fd.MapValue().Message())
			case fd.Message() != nil && !fd.IsMap():
				return expand(t, v, fd.Message())
			}
			return v
		}
		switch list := value.(type) {
		case []any:
			if fd.IsList() {
				for i := range list {
					list[i] = element(list[i])
				}
				continue
			}
		case map[string]any:
			if fd.IsMap() {
				for key := range list {
					list[key] = element(list[key])
				}
				continue
			}
		}
		object[name] = element(value)
	}
	return object
}

func TestJSONIsExact(t *testing.T) {
	for _, c := range []struct{ message, text string }{
		{`{"result":{"count":1}}`, `{"count":1}`},
		{`{"result":123456789012345678901234567890}`, `123456789012345678901234567890`},
		{`{"result":1.0e+5,"worker":"w"}`, `1.0e+5`},
		{`{"result":"<b>&amp;</b>"}`, `"<b>&amp;</b>"`},
		{`{"result":{"b":1,"a":2}}`, `{"b":1,"a":2}`},
		{`{"result":null}`, `null`},
	} {
		var m snakepitv1.ExecuteResponse
		if err := codec.Unmarshal([]byte(c.message), &m); err != nil || string(m.Result) != c.text {
			t.Errorf("%s holds %s (%v)", c.message, m.Result, err)
		}
		if text, err := codec.Marshal(&m); err != nil || string(text) != c.message {
			t.Errorf("%s became %s (%v)", c.message, text, err)
		}
	}
}

func TestJSONTakesBothNamesAndSpace(t *testing.T) {
	var m snakepitv1.ExecuteRequest
	err := codec.Unmarshal([]byte(" {\n \"invocation\" : {\t\"call_id\":\"c\", \"sessionMustExist\": true ,\"\\u0074ool\" : \"t\", \"arguments\" : { \"a b\" : [ 1 , 2 ] } } }\n"), &m)
	want := &snakepitv1.Invocation{CallId: "c", SessionMustExist: true, Tool: "t", Arguments: []byte(`{ "a b" : [ 1 , 2 ] }`)}
	if err != nil || !proto.Equal(m.Invocation, want) {
		t.Errorf("got %v (%v)", m.Invocation, err)
	}
}

func TestJSONIsStrict(t *testing.T) {
	for text, want := range map[string]string{
		``:                                       "the request is empty",
		`{`:                                      "not valid JSON: unexpected end",
		`{"a":1}x`:                               "not valid JSON: invalid character 'x'",
		`{"a":NaN}`:                              "not valid JSON",
		"{\"a\":\"\xff\"}":                       "UTF-8",
		`[]`:                                     "unexpected token",
		`null`:                                   "unexpected token",
		`{"invocatoin":{}}`:                      `field "invocatoin": there is no such field; ExecuteRequest has invocation`,
		`{"invocation":{"tol":"t"}}`:             `field "invocation.tol": there is no such field; Invocation has tool, arguments`,
		`{"invocation":[]}`:                      "unexpected token",
		`{"invocation":{"tool":7}}`:              "invalid value for string field tool",
		`{"invocation":{"tool":"t","tool":"u"}}`: `duplicate field "tool"`,
		`{"invocation":{"arguments":{},"arguments":{"a":1}}}`:                                            `duplicate field "arguments"`,
		`{"invocation":{"callId":"a","call_id":"b"}}`:                                                    `duplicate field`,
		`{"invocation":{"timeout":"long"}}`:                                                              "invalid google.protobuf.Duration",
		`{"invocation":{"arguments":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}}`: "exceeded max depth",
	} {
		err := codec.Unmarshal([]byte(text), new(snakepitv1.ExecuteRequest))
		if err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), "\u00a0", " "), want) {
			t.Errorf("%.60s: %v, want %q", text, err, want)
		}
	}
	if _, err := codec.Marshal(&snakepitv1.ExecuteResponse{Result: []byte(`{"broken`)}); err == nil ||
		!strings.Contains(err.Error(), `field "result": holds no valid JSON`) {
		t.Errorf("a result that is no JSON was sent: %v", err)
	}
}

// TestJSONOfMapsAndLists takes a message that the API does not have: texts in
// lists, in maps, in messages in maps, and in itself.
func TestJSONOfMapsAndLists(t *testing.T) {
	options := &descriptorpb.FieldOptions{}
	proto.SetExtension(options, snakepitv1.E_JsonText, true)
	field := func(name string, number int32, label descriptorpb.FieldDescriptorProto_Label, kind descriptorpb.FieldDescriptorProto_Type, typeName string) *descriptorpb.FieldDescriptorProto {
		f := &descriptorpb.FieldDescriptorProto{Name: &name, Number: &number, Label: &label, Type: &kind, JsonName: &name}
		if typeName != "" {
			f.TypeName = &typeName
		}
		return f
	}
	const (
		single = descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL
		many   = descriptorpb.FieldDescriptorProto_LABEL_REPEATED
		bytesT = descriptorpb.FieldDescriptorProto_TYPE_BYTES
		strT   = descriptorpb.FieldDescriptorProto_TYPE_STRING
		msgT   = descriptorpb.FieldDescriptorProto_TYPE_MESSAGE
	)
	entry := func(name string, value *descriptorpb.FieldDescriptorProto) *descriptorpb.DescriptorProto {
		return &descriptorpb.DescriptorProto{
			Name: &name, Options: &descriptorpb.MessageOptions{MapEntry: new(true)},
			Field: []*descriptorpb.FieldDescriptorProto{field("key", 1, single, strT, ""), value},
		}
	}
	marked := func(f *descriptorpb.FieldDescriptorProto) *descriptorpb.FieldDescriptorProto {
		f.Options = options
		return f
	}
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: new("test.proto"), Package: new("test"), Syntax: new("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{{
			Name: new("M"),
			Field: []*descriptorpb.FieldDescriptorProto{
				marked(field("list", 1, many, bytesT, "")),
				marked(field("texts", 2, many, msgT, ".test.M.TextsEntry")),
				field("messages", 3, many, msgT, ".test.M.MessagesEntry"),
				field("names", 4, many, msgT, ".test.M.NamesEntry"),
				field("inner", 5, single, msgT, ".test.M"),
			},
			NestedType: []*descriptorpb.DescriptorProto{
				entry("TextsEntry", field("value", 2, single, bytesT, "")),
				entry("MessagesEntry", field("value", 2, single, msgT, ".test.M")),
				entry("NamesEntry", field("value", 2, single, strT, "")),
			},
		}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	mt := dynamicpb.NewMessageType(file.Messages().Get(0))
	const text = `{"list":[1,"2",null,{"b":[]}],"texts":{"a":{"x":1},"list":[2]},"messages":{"m":{"list":[3],"names":{"list":"n"}}},` +
		`"names":{"texts":"t"},"inner":{"inner":{"list":["deep"]}}}`
	m := mt.New().Interface()
	if err := codec.Unmarshal([]byte(text), m); err != nil {
		t.Fatal(err)
	}
	list := m.ProtoReflect().Get(mt.Descriptor().Fields().ByName("list")).List()
	if list.Len() != 4 || string(list.Get(3).Bytes()) != `{"b":[]}` || string(list.Get(2).Bytes()) != "null" {
		t.Errorf("list is %v", list)
	}
	back, err := codec.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if encoded(t, decoded(t, back)) != encoded(t, decoded(t, []byte(text))) {
		t.Errorf("got  %s\nwant %s", back, text)
	}
	for text, want := range map[string]string{
		`{"messages":{"m":{"lists":[]}}}`: `field "messages.m.lists"`,
		`{"inner":{"inner":{"x":1}}}`:     `field "inner.inner.x"`,
	} {
		if err := codec.Unmarshal([]byte(text), mt.New().Interface()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func FuzzJSON(f *testing.F) {
	for _, text := range texts {
		f.Add([]byte(`{"invocation":{"tool":"t","arguments":` + text + `,"attachments":["AAE="],"timeout":"1.5s"}}`))
	}
	f.Add([]byte(`{"invocation": {"x": 1}}`))
	f.Add([]byte(` { "invocation" : null } `))
	f.Add([]byte(`[{"a":"\\\""}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m := new(snakepitv1.ExecuteRequest)
		if err := codec.Unmarshal(data, m); err != nil {
			return
		}
		if text := m.GetInvocation().GetArguments(); len(text) > 0 && (!json.Valid(text) || !bytes.Contains(data, text)) {
			t.Fatalf("%q holds the arguments %q", data, text)
		}
		roundTrip(t, m.ProtoReflect().Type(), m)
	})
}

func BenchmarkJSON(b *testing.B) {
	for _, size := range []int{1 << 10, 1 << 20} {
		res := &snakepitv1.ExecuteResponse{Result: fmt.Appendf(nil, `{"text":"%s"}`, strings.Repeat("0123456789", size/10)), Worker: "default-1"}
		text, err := codec.Marshal(res)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("encode/%d", size), func(b *testing.B) {
			b.SetBytes(int64(size))
			for b.Loop() {
				if _, err := codec.Marshal(res); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("decode/%d", size), func(b *testing.B) {
			b.SetBytes(int64(size))
			for b.Loop() {
				if err := codec.Unmarshal(text, new(snakepitv1.ExecuteResponse)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
