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

// operationView is an operation with its metadata and result decoded.
type operationView struct {
	*longrunningpb.Operation
	*operationspb.OperationMetadata
	// result is nil until the operation succeeds, and when its type is newer than
	// this program.
	result proto.Message
}

func newOperationView(op *longrunningpb.Operation) (operationView, error) {
	o := operationView{Operation: op, OperationMetadata: &operationspb.OperationMetadata{}}
	if err := op.GetMetadata().UnmarshalTo(o.OperationMetadata); err != nil {
		return o, fmt.Errorf("unmarshal metadata of %s: %w", op.GetName(), err)
	}
	if response := op.GetResponse(); response != nil {
		o.result, _ = response.UnmarshalNew()
	}
	return o, nil
}

func (o operationView) running() bool {
	return !o.Done && o.State == operationspb.OperationMetadata_STATE_RUNNING
}

// stateClass returns the CSS class of the operation's state.
func (o operationView) stateClass() string {
	switch o.State {
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

// stateLabel returns the label of the operation's state. operation.js has the same
// labels.
func (o operationView) stateLabel() string {
	if o.CancelRequested && !o.Done {
		return "Cancelling"
	}
	return map[string]string{
		"waiting": "Waiting", "running": "Running", "succeeded": "Done", "failed": "Failed", "cancelled": "Cancelled",
	}[o.stateClass()]
}

// amount returns the progress in the operation's unit; empty if unknown.
func (o operationView) amount() string {
	if o.DoneCount == 0 && o.TotalCount == 0 {
		return ""
	}
	return ui.Progress(o.DoneCount, o.TotalCount, o.Unit)
}

// timeLeft returns the estimated time until the operation finishes; empty if unknown.
func (o operationView) timeLeft() string {
	if !o.running() || !o.EstimatedEndTime.IsValid() {
		return ""
	}
	return ui.Remaining(time.Until(o.EstimatedEndTime.AsTime()))
}

// draftPath returns the URL of the publish form, prefilled as submitted for this
// operation; empty if the operation does not publish a recording.
func (o operationView) draftPath() string {
	if o.Kind != "recording" || o.Subject == "" {
		return ""
	}
	return ui.Path(o.Subject) + "?draft=" + url.QueryEscape(strings.TrimPrefix(o.Name, "operations/"))
}

// advice returns what to do after the operation failed.
func (o operationView) advice() string {
	switch o.Kind {
	case "recording":
		return "Nothing was published. Fix the problem above and try again. Your upload is kept for a while."
	case "import":
		return "Talks imported before the failure were kept. Import the same archive again to continue; nothing is imported twice."
	case "export":
		return "Nothing was changed. Try again later."
	}
	return "Try again later."
}
