package frames

import (
	"encoding/json"
	"unicode/utf8"
)

// appendString appends a JSON string.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			encoded, err := json.Marshal(s)
			if err != nil {
				panic("encode a string: " + err.Error()) // cannot fail
			}
			return append(b, encoded...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}
