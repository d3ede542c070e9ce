package server

import (
	"encoding/json"
	"net/http"

	"connectrpc.com/connect"
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

// refuse answers a request that no handler gets to see.
func refuse(w http.ResponseWriter, status int, code connect.Code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(failure{Code: code.String(), Message: message}.text()) // an error means that the client has left
}
