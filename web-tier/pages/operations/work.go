package operations

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/protobuf/proto"

	operationspb "techtalks.example/proto/techtalks/operations/v1"
	"techtalks.example/web-tier/pages/ui"
)

// work is an operation as it is shown.
type work struct {
	*longrunningpb.Operation
	*operationspb.OperationMetadata
	// result is what came of it; nil while it runs, when it failed, and when this
	// program is older than that kind of result.
	result proto.Message
}

func read(op *longrunningpb.Operation) (work, error) {
	w := work{Operation: op, OperationMetadata: &operationspb.OperationMetadata{}}
	if err := op.GetMetadata().UnmarshalTo(w.OperationMetadata); err != nil {
		return w, fmt.Errorf("the metadata of %s: %w", op.GetName(), err)
	}
	if response := op.GetResponse(); response != nil {
		w.result, _ = response.UnmarshalNew()
	}
	return w, nil
}

func (w work) running() bool {
	return !w.Done && w.State == operationspb.OperationMetadata_STATE_RUNNING
}

// look is the state's class: its colour and sign.
func (w work) look() string {
	switch w.State {
	case operationspb.OperationMetadata_STATE_RUNNING:
		return "running"
	case operationspb.OperationMetadata_STATE_SUCCEEDED:
		return "succeeded"
	case operationspb.OperationMetadata_STATE_FAILED:
		return "failed"
	case operationspb.OperationMetadata_STATE_CANCELLED:
		return "cancelled"
	}
	return "waiting"
}

// standing is how it stands, in a word or two. The words are in operation.js too.
func (w work) standing() string {
	if w.CancelRequested && !w.Done {
		return "Stopping"
	}
	return map[string]string{
		"waiting": "Waiting", "running": "Running", "succeeded": "Done", "failed": "Failed", "cancelled": "Cancelled",
	}[w.look()]
}

// amount is how much is done in its own unit; empty when nothing is known.
func (w work) amount() string {
	if w.DoneCount == 0 && w.TotalCount == 0 {
		return ""
	}
	return ui.Progress(w.DoneCount, w.TotalCount, w.Unit)
}

// left is how long it likely still takes; empty when that is not known.
func (w work) left() string {
	if !w.running() || !w.EstimatedEndTime.IsValid() {
		return ""
	}
	return ui.Remaining(time.Until(w.EstimatedEndTime.AsTime()))
}

// editAgain returns the address of the form as it was sent for this publication; empty
// when the operation publishes nothing.
func (w work) editAgain() string {
	if w.Kind != "recording" || w.Subject == "" {
		return ""
	}
	return ui.Path(w.Subject) + "?draft=" + url.QueryEscape(strings.TrimPrefix(w.Name, "operations/"))
}

// advice is what to do about its error.
func (w work) advice() string {
	switch w.Kind {
	case "recording":
		return "Nothing was published. Fix the problem above and try again. Your upload is kept for a while."
	case "import":
		return "What was taken before stays. Import the same archive again: nothing will be there twice."
	case "export":
		return "Nothing was changed. Try again in a while."
	}
	return "Try again in a while."
}
