package server

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// jsonCodec is the JSON of the Connect protocol, with one difference from
// Protobuf's own: the bytes fields marked json_text stand there as the JSON
// they hold, not as base64, so that numbers of any size pass unchanged.
//
// It passes once over the text that protojson makes or takes; see rewriter.
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
	return rewrite(make([]byte, 0, len(text)), text, msg.ProtoReflect().Descriptor(), textOfBase64)
}

// Unmarshal implements connect.Codec.
func (c jsonCodec) Unmarshal(data []byte, v any) error {
	msg, ok := v.(proto.Message)
	if !ok {
		return fmt.Errorf("decode %T: not a message", v)
	}
	if len(data) == 0 {
		return errors.New("the request is empty: send a JSON object, {} if there is nothing to say")
	}
	if !utf8.Valid(data) {
		return errors.New("the JSON is not valid UTF-8")
	}
	if !json.Valid(data) {
		var nothing any
		return fmt.Errorf("the request is not valid JSON: %w", json.Unmarshal(data, &nothing))
	}
	var taken texts
	text, err := rewrite(nil, data, msg.ProtoReflect().Descriptor(), taken.take)
	if err != nil {
		return err
	}
	if err := protojson.Unmarshal(text, msg); err != nil {
		return err
	}
	taken.put(msg.ProtoReflect())
	return nil
}

// textOfBase64 appends the JSON in what protojson wrote for a bytes field.
// Bytes that are not JSON, which only a fault of ours could bring here, are an
// error rather than a broken document.
func textOfBase64(dst, value []byte) ([]byte, error) {
	start := len(dst)
	dst, err := base64.StdEncoding.AppendDecode(dst, value[1:len(value)-1])
	if err != nil {
		return nil, err
	}
	if !json.Valid(dst[start:]) {
		return nil, errors.New("holds no valid JSON")
	}
	return dst, nil
}

// texts are the values of json_text fields while protojson decodes the rest. It
// sees their numbers instead: the largest values are among them, and would pass
// through base64 there and back.
type texts struct{ values [][]byte }

// take appends the number of a value in its place, as protojson reads bytes.
func (t *texts) take(dst, value []byte) ([]byte, error) {
	number := binary.BigEndian.AppendUint32(nil, uint32(len(t.values)))
	t.values = append(t.values, bytes.Clone(value)) // the request's buffer is used again
	dst = append(dst, '"')
	dst = base64.StdEncoding.AppendEncode(dst, number)
	return append(dst, '"'), nil
}

// put puts the values in the places of their numbers.
func (t *texts) put(msg protoreflect.Message) {
	msg.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		inside := fd.Message()
		if fd.IsMap() {
			inside = fd.MapValue().Message()
		}
		switch {
		case isText(fd):
			t.putField(msg, fd, v)
		case inside == nil || inside.ParentFile().Package() == "google.protobuf":
		case fd.IsMap():
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
				t.put(v.Message())
				return true
			})
		case fd.IsList():
			for i := range v.List().Len() {
				t.put(v.List().Get(i).Message())
			}
		default:
			t.put(v.Message())
		}
		return true
	})
}

func (t *texts) putField(msg protoreflect.Message, fd protoreflect.FieldDescriptor, v protoreflect.Value) {
	switch {
	case fd.IsMap():
		m := v.Map()
		m.Range(func(key protoreflect.MapKey, v protoreflect.Value) bool {
			m.Set(key, t.of(v))
			return true
		})
	case fd.IsList():
		for i, list := 0, v.List(); i < list.Len(); i++ {
			list.Set(i, t.of(list.Get(i)))
		}
	default:
		msg.Set(fd, t.of(v))
	}
}

func (t *texts) of(number protoreflect.Value) protoreflect.Value {
	return protoreflect.ValueOfBytes(t.values[binary.BigEndian.Uint32(number.Bytes())])
}
