package ui

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/protobuf/encoding/protojson"

	"techtalks.example/web-tier/platform/logicclient"
	"techtalks.example/web-tier/platform/server"
)

// firstLook is when to look at work that has just begun.
const firstLook = time.Second

// tooManyOperations is why long work is refused when an account has as much under
// way as it may.
const tooManyOperations = "TOO_MANY_OPERATIONS"

// PrefersJSON says whether the request was made by a program: it is rather
// answered with JSON than with a page.
func (v *Visit) PrefersJSON() bool { return server.PrefersJSON(v.Request) }

// Started answers that long work has begun: a browser is led to its handle, a
// program is given it.
func (v *Visit) Started(op *longrunningpb.Operation) error {
	if !v.PrefersJSON() {
		v.Writer.Header().Set("Vary", "Accept")
		return v.Redirect(Path(op.Name))
	}
	body, err := protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}.Marshal(op)
	if err != nil {
		return err
	}
	h := v.Writer.Header()
	h.Set("Location", Path(op.Name))
	h.Set("Retry-After", strconv.Itoa(int(firstLook.Seconds())))
	v.tell(http.StatusAccepted, "application/json", body)
	return nil
}

// tellProblem is a problem for programs (RFC 9457).
func (v *Visit) tellProblem(p *logicclient.Problem) {
	body, err := json.Marshal(struct {
		Title  string            `json:"title"`
		Status int               `json:"status"`
		Detail string            `json:"detail"`
		Reason string            `json:"reason,omitempty"`
		Fields map[string]string `json:"fields,omitempty"`
	}{p.Title, p.Status, p.Message, p.Reason, p.Fields})
	if err != nil {
		panic(err) // made of text
	}
	v.tell(p.Status, "application/problem+json", body)
}

func (v *Visit) tell(status int, kind string, body []byte) {
	h := v.Writer.Header()
	h.Set("Content-Type", kind)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	h.Set("Vary", "Accept")
	v.Writer.WriteHeader(status)
	_, _ = v.Writer.Write(body) // the caller may be gone
}
