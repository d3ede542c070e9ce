package server

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	snakepitv1 "github.com/snakepit-go/snakepit/api/snakepit/v1"
)

// jsonCodec is the JSON of the Connect protocol, with one difference from
// Protobuf's own: the bytes fields marked json_text stand there as the JSON
// they hold, not as base64, so that numbers of any size pass unchanged.
//
// It works on the text that protojson makes or takes, and opens only the
// objects that can hold such a field.
type jsonCodec struct{ name string }

// Name implements connect.Codec.
func (c jsonCodec) Name() string { return c.name }

// Marshal implements connect.Codec.
func (c jsonCodec) Marshal(v any) ([]byte, error) {
	msg, ok := v.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("encode %T: not a message", v)
	}
	text, err := protojson.Marshal(msg)
	if err != nil {
		return nil, err
	}
	return rewrite(text, msg.ProtoReflect().Descriptor(), textOfBase64)
}

// Unmarshal implements connect.Codec.
func (c jsonCodec) Unmarshal(data []byte, v any) error {
	msg, ok := v.(proto.Message)
	if !ok {
		return fmt.Errorf("decode %T: not a message", v)
	}
	if len(data) == 0 {
		return errors.New("the request has no JSON")
	}
	text, err := rewrite(data, msg.ProtoReflect().Descriptor(), base64OfText)
	if err != nil {
		return err
	}
	return protojson.Unmarshal(text, msg)
}

// textOfBase64 turns what protojson wrote for a bytes field into the JSON it
// holds. Bytes that are not JSON, which only a fault of ours could bring here,
// are an error rather than a broken document.
func textOfBase64(value json.RawMessage) (json.RawMessage, error) {
	var text []byte
	if err := json.Unmarshal(value, &text); err != nil {
		return nil, err
	}
	if !json.Valid(text) {
		return nil, errors.New("holds no valid JSON")
	}
	return text, nil
}

func base64OfText(value json.RawMessage) (json.RawMessage, error) {
	encoded := make([]byte, 0, base64.StdEncoding.EncodedLen(len(value))+2)
	encoded = append(encoded, '"')
	encoded = base64.StdEncoding.AppendEncode(encoded, value)
	return append(encoded, '"'), nil
}

// rewrite applies change to the value of every json_text field in the JSON of a
// message.
func rewrite(text []byte, md protoreflect.MessageDescriptor, change func(json.RawMessage) (json.RawMessage, error)) ([]byte, error) {
	if !holdsText(md) {
		return text, nil
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		return nil, err
	}
	for name, value := range members {
		fd := md.Fields().ByJSONName(name)
		if fd == nil {
			fd = md.Fields().ByTextName(name)
		}
		if fd == nil || bytes.Equal(value, []byte("null")) && !isText(fd) {
			continue // protojson reports unknown names
		}
		changed, err := rewriteField(value, fd, change)
		if err != nil {
			return nil, fmt.Errorf("field %s of %s: %w", name, md.Name(), err)
		}
		members[name] = changed
	}
	return json.Marshal(members)
}

func rewriteField(value json.RawMessage, fd protoreflect.FieldDescriptor, change func(json.RawMessage) (json.RawMessage, error)) (json.RawMessage, error) {
	switch {
	case isText(fd):
		return change(value)
	case fd.IsMap() || fd.Message() == nil || !holdsText(fd.Message()):
		return value, nil
	case fd.IsList():
		var elements []json.RawMessage
		if err := json.Unmarshal(value, &elements); err != nil {
			return nil, err
		}
		for i, element := range elements {
			changed, err := rewrite(element, fd.Message(), change)
			if err != nil {
				return nil, err
			}
			elements[i] = changed
		}
		return json.Marshal(elements)
	default:
		return rewrite(value, fd.Message(), change)
	}
}

func isText(fd protoreflect.FieldDescriptor) bool {
	return fd.Kind() == protoreflect.BytesKind && proto.GetExtension(fd.Options(), snakepitv1.E_JsonText).(bool)
}

// textHolders remembers, by full name, which messages hold json_text fields
// themselves or in a message of theirs.
var textHolders sync.Map

func holdsText(md protoreflect.MessageDescriptor) bool {
	if known, ok := textHolders.Load(md.FullName()); ok {
		return known.(bool)
	}
	holds := searchText(md, make(map[protoreflect.FullName]bool))
	textHolders.Store(md.FullName(), holds)
	return holds
}

func searchText(md protoreflect.MessageDescriptor, seen map[protoreflect.FullName]bool) bool {
	if seen[md.FullName()] {
		return false
	}
	seen[md.FullName()] = true
	for i := range md.Fields().Len() {
		fd := md.Fields().Get(i)
		if isText(fd) || fd.Message() != nil && searchText(fd.Message(), seen) {
			return true
		}
	}
	return false
}
