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

// initialPollDelay is the Retry-After of a newly started operation.
const initialPollDelay = time.Second

// reasonTooManyOperations is the reason of the error when an account has reached its limit of
// running operations.
const reasonTooManyOperations = "TOO_MANY_OPERATIONS"

// PrefersJSON reports whether the client prefers JSON to an HTML page, as programs do.
func (v *PageContext) PrefersJSON() bool { return server.PrefersJSON(v.Request) }

// RespondAccepted responds to a request that started op. It redirects a browser to the
// operation's page. A program receives 202 Accepted with the operation as JSON.
func (v *PageContext) RespondAccepted(op *longrunningpb.Operation) error {
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
	h.Set("Retry-After", strconv.Itoa(int(initialPollDelay.Seconds())))
	v.writeJSON(http.StatusAccepted, "application/json", body)
	return nil
}

// writeProblemJSON responds with p as problem details (RFC 9457).
func (v *PageContext) writeProblemJSON(p *logicclient.Problem) {
	body, err := json.Marshal(struct {
		Title  string            `json:"title"`
		Status int               `json:"status"`
		Detail string            `json:"detail"`
		Reason string            `json:"reason,omitempty"`
		Fields map[string]string `json:"fields,omitempty"`
	}{p.Title, p.Status, p.Message, p.Reason, p.Fields})
	if err != nil {
		panic(err) // the struct holds only strings and numbers
	}
	v.writeJSON(p.Status, "application/problem+json", body)
}

func (v *PageContext) writeJSON(status int, contentType string, body []byte) {
	h := v.Writer.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	h.Set("Vary", "Accept")
	v.Writer.WriteHeader(status)
	_, _ = v.Writer.Write(body) // the client may have disconnected
}
