package correlation

import "strings"

// FromTraceparent returns the trace id in a W3C traceparent header, which makes
// a good correlation id for a caller that traces, or "" if there is none.
func FromTraceparent(header string) string {
	// version "-" trace id "-" parent id "-" flags; later versions may go on.
	parts := strings.SplitN(header, "-", 5)
	if len(parts) < 4 || len(parts[0]) != 2 || parts[0] == "ff" || parts[0] == "00" && len(parts) != 4 {
		return ""
	}
	trace := parts[1]
	if len(trace) != 32 || strings.Trim(trace, "0123456789abcdef") != "" || strings.Trim(trace, "0") == "" {
		return ""
	}
	return trace
}
