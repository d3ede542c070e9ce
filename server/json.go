package server

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
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
	return rewrite(text, msg.ProtoReflect().Descriptor(), textOfBase64)
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
	text, err := rewrite(data, msg.ProtoReflect().Descriptor(), base64OfText)
	if err != nil {
		return err
	}
	return protojson.Unmarshal(text, msg)
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

func base64OfText(dst, value []byte) ([]byte, error) {
	dst = append(dst, '"')
	dst = base64.StdEncoding.AppendEncode(dst, value)
	return append(dst, '"'), nil
}
