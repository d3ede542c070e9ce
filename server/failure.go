package server

import (
	"encoding/base64"
	"encoding/json"
	"net/http"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
)

// failure is the JSON of an error, as the Connect protocol has it.
type failure struct {
	Code    string          `json:"code"`
	Message string          `json:"message"`
	Details []failureDetail `json:"details,omitempty"`
}

type failureDetail struct {
	Type  string          `json:"type"`
	Value string          `json:"value"`
	Debug json.RawMessage `json:"debug,omitempty"`
}

// text is the JSON.
func (f failure) text() []byte {
	text, err := json.Marshal(f)
	if err != nil { // only a detail that is no JSON could be the reason
		f.Details = nil
		return f.text()
	}
	return text
}

// failureOf is the JSON of an error with its details.
func failureOf(wire *connect.Error) failure {
	f := failure{Code: wire.Code().String(), Message: wire.Message()}
	for _, d := range wire.Details() {
		detail := failureDetail{Type: d.Type(), Value: base64.RawStdEncoding.EncodeToString(d.Bytes())}
		if value, err := d.Value(); err == nil {
			detail.Debug, _ = protojson.Marshal(value) // left out if it has no JSON
		}
		f.Details = append(f.Details, detail)
	}
	return f
}

// refuse answers a request that no handler gets to see.
func refuse(w http.ResponseWriter, status int, code connect.Code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(failure{Code: code.String(), Message: message}.text()) // an error means that the client has left
}
