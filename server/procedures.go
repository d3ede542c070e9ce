package server

import (
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/reflect/protoreflect"

	snakepitv1 "github.com/snakepit-go/snakepit/api/snakepit/v1"
)

// Content types of requests. The protocols' handlers refuse others without a
// word, which tells a person with curl nothing.
var (
	grpcTypes = []string{
		"application/grpc", "application/grpc+proto", "application/grpc+json",
		"application/grpc-web", "application/grpc-web+proto", "application/grpc-web+json",
	}
	unaryTypes  = append([]string{"application/json", "application/proto"}, grpcTypes...)
	streamTypes = append([]string{"application/connect+json", "application/connect+proto"}, grpcTypes...)
)

// procedures has the content types that each procedure takes, by its path.
type procedures map[string][]string

// plainStream is the procedure that takes plain JSON as well; see stream.go.
const plainStream = "/snakepit.v1.ExecutionService/Stream"

// apiPrefix is what the path of every procedure begins with.
const apiPrefix = "/snakepit.v1."

func ownProcedures() procedures {
	list := make(procedures)
	for _, file := range []protoreflect.FileDescriptor{
		snakepitv1.File_snakepit_v1_execution_proto, snakepitv1.File_snakepit_v1_session_proto, snakepitv1.File_snakepit_v1_pool_proto,
	} {
		for i := range file.Services().Len() {
			methods := file.Services().Get(i).Methods()
			for j := range methods.Len() {
				m := methods.Get(j)
				types := unaryTypes
				if m.IsStreamingClient() || m.IsStreamingServer() {
					types = streamTypes
				}
				list[fmt.Sprintf("/%s/%s", m.Parent().FullName(), m.Name())] = types
			}
		}
	}
	list[plainStream] = append([]string{"application/json"}, streamTypes...)
	return list
}

// check answers requests to procedures that there are not, or in a way that
// they are not called, and passes all others on.
func (p procedures) check(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, apiPrefix) {
			next.ServeHTTP(w, r)
			return
		}
		types, ok := p[r.URL.Path]
		contentType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
		switch {
		case !ok:
			refuse(w, http.StatusNotFound, connect.CodeUnimplemented, r.URL.Path+" is no procedure of this server: docs/api.md lists them")
		case r.Method != http.MethodPost:
			w.Header().Set("Allow", http.MethodPost)
			refuse(w, http.StatusMethodNotAllowed, connect.CodeUnimplemented, "procedures are called by POST, not by "+r.Method)
		case err != nil || !slices.Contains(types, contentType):
			w.Header().Set("Accept-Post", strings.Join(types, ", "))
			refuse(w, http.StatusUnsupportedMediaType, connect.CodeInvalidArgument, fmt.Sprintf(
				"the content type %q is not one of this procedure; send the header Content-Type: %s (or another of %s)",
				r.Header.Get("Content-Type"), types[0], strings.Join(types[1:], ", ")))
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// notFound answers what no handler is for.
func notFound(w http.ResponseWriter, r *http.Request) {
	refuse(w, http.StatusNotFound, connect.CodeNotFound, "there is nothing at "+r.URL.Path+": docs/api.md says what is where")
}
