package operations_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	operationspb "techtalks.example/proto/techtalks/operations/v1"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
	transferspb "techtalks.example/proto/techtalks/transfers/v1"
	"techtalks.example/web-tier/pages/operations"
	"techtalks.example/web-tier/pages/pagetest"
	"techtalks.example/web-tier/pages/ui"
	"techtalks.example/web-tier/platform/logictest"
)

var handlers = map[string]ui.Handler{
	"GET /operations": operations.List, "GET /operations/{operation}": operations.Show,
	"POST /operations/{operation}/cancel": operations.Cancel, "POST /operations/{operation}/delete": operations.Delete,
}

const (
	get    = "/google.longrunning.Operations/GetOperation"
	list   = "/google.longrunning.Operations/ListOperations"
	cancel = "/google.longrunning.Operations/CancelOperation"
	remove = "/google.longrunning.Operations/DeleteOperation"
)

func pack(t *testing.T, m proto.Message) *anypb.Any {
	t.Helper()
	packed, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return packed
}

// operation returns an operation, with metadata m, that was created a minute ago.
func operation(t *testing.T, m *operationspb.OperationMetadata) *longrunningpb.Operation {
	t.Helper()
	created := timestamppb.New(time.Now().Add(-time.Minute))
	m.CreateTime, m.UpdateTime = created, created
	if m.State != operationspb.OperationMetadata_STATE_WAITING {
		m.StartTime = created
	}
	op := &longrunningpb.Operation{Name: "operations/abc", Done: m.State > operationspb.OperationMetadata_STATE_RUNNING}
	if op.Done {
		m.EndTime, m.ExpireTime = timestamppb.Now(), timestamppb.New(time.Now().Add(7*24*time.Hour))
	}
	op.Metadata = pack(t, m)
	return op
}

func running(t *testing.T) *longrunningpb.Operation {
	return operation(t, &operationspb.OperationMetadata{
		Kind: "recording", Title: "Recording of “On <looms>”", State: operationspb.OperationMetadata_STATE_RUNNING, Cursor: "epoch-3",
		DoneCount: 754, TotalCount: 3909, Unit: "seconds", Percent: 19, EstimatedEndTime: timestamppb.New(time.Now().Add(4*time.Minute + 10*time.Second)),
		Steps: []*operationspb.OperationMetadata_Step{
			{Time: timestamppb.New(time.Now().Add(-time.Minute)), Text: "Probed the file: mp4, h264, 1:05:09."},
			{Time: timestamppb.New(time.Now().Add(-50 * time.Second)), Text: "Created the <poster>."},
		},
	})
}

func succeeded(t *testing.T, kind string, result proto.Message) *longrunningpb.Operation {
	op := operation(t, &operationspb.OperationMetadata{Kind: kind, Title: "Work", State: operationspb.OperationMetadata_STATE_SUCCEEDED, Percent: 100, DoneCount: 5, TotalCount: 5, Unit: "files"})
	op.Result = &longrunningpb.Operation_Response{Response: pack(t, result)}
	return op
}

func failed(t *testing.T) *longrunningpb.Operation {
	op := operation(t, &operationspb.OperationMetadata{Kind: "recording", Subject: "channels/go", Title: "Recording of “On looms”", State: operationspb.OperationMetadata_STATE_FAILED, Percent: 19})
	op.Result = &longrunningpb.Operation_Error{Error: &rpcstatus.Status{Code: int32(codes.InvalidArgument), Message: "the file is not a <video>; upload an mp4 or webm file"}}
	return op
}

func open(t *testing.T, op *longrunningpb.Operation) *pagetest.Browser {
	t.Helper()
	b := pagetest.Open(t, false, handlers).With(logictest.Session)
	answer(b, op)
	return b
}

func answer(b *pagetest.Browser, op *longrunningpb.Operation) {
	logictest.Answer(b.Logic, get, func(_ context.Context, r *longrunningpb.GetOperationRequest) (*longrunningpb.Operation, error) {
		if op == nil || r.Name != op.Name {
			return nil, logictest.Refusal(codes.NotFound, "OPERATION_NOT_FOUND", "operation not found")
		}
		return op, nil
	})
}

func TestShowRendersRunningOperation(t *testing.T) {
	b := open(t, running(t))
	b.Get("/operations/abc").Is(200, "Recording of “On &lt;looms&gt;”", "Running", "19 %", "12:34 of 1:05:09", "about 4 min left", `value="19"`,
		"Created the &lt;poster&gt;.", `action="/operations/abc/cancel"`, `data-cursor="epoch-3"`, "/assets/operation.",
		`<noscript><meta http-equiv="refresh" content="5"></noscript>`).Lacks("/delete")
	b.Get("/operations/other").Is(404, "Operation not found.")
}

func TestShowRendersWaitingAndCancellingOperation(t *testing.T) {
	open(t, operation(t, &operationspb.OperationMetadata{Title: "Import", State: operationspb.OperationMetadata_STATE_WAITING})).
		Get("/operations/abc").Is(200, "Waiting", "Not started yet", "0 %")
	op := operation(t, &operationspb.OperationMetadata{Title: "Import", State: operationspb.OperationMetadata_STATE_RUNNING, CancelRequested: true})
	open(t, op).Get("/operations/abc").Is(200, "Cancelling", "disabled")
}

// The page of a finished operation does not reload.
func TestShowRendersResult(t *testing.T) {
	open(t, succeeded(t, "recording", &talkspb.PublishRecordingResponse{Talk: &talkspb.Talk{Name: "channels/go/talks/on-looms"}})).
		Get("/operations/abc").Is(200, "Done", "100 %", `href="/channels/go/talks/on-looms"`, "Expires on", `action="/operations/abc/delete"`).Lacks("/cancel", "http-equiv", "operation.js", `id="operation"`)
	open(t, succeeded(t, "export", &transferspb.ExportArchiveResponse{File: "uploads/xyz", Size: 1_500_000_000, Talks: 1200, Recordings: 1})).
		Get("/operations/abc").Is(200, `href="/files/xyz"`, "1,200 talks and 1 recording, 1.5 GB")
	open(t, failed(t)).Get("/operations/abc").Is(200, "Failed", "The file is not a &lt;video&gt;; upload an mp4 or webm file.", "Nothing was published", `href="/channels/go?draft=abc"`, "Edit and try again")
	open(t, operation(t, &operationspb.OperationMetadata{Title: "Import", State: operationspb.OperationMetadata_STATE_CANCELLED})).
		Get("/operations/abc").Is(200, "Cancelled").Lacks("Failed")
}

func TestShowListsRejectedFilesOfImport(t *testing.T) {
	b := open(t, succeeded(t, "import", &transferspb.ImportCatalogueResponse{Files: 1234, ChannelsCreated: 3, TalksCreated: 1200, TalksPresent: 10, Rejected: 2, Ignored: 22}))
	logictest.Answer(b.Logic, transferspb.Transfers_ListRejections_FullMethodName, func(_ context.Context, r *transferspb.ListRejectionsRequest) (*transferspb.ListRejectionsResponse, error) {
		if r.PageToken == "more" {
			return &transferspb.ListRejectionsResponse{Rejections: []*transferspb.ListRejectionsResponse_Rejection{{Path: "second", Reason: "too"}}}, nil
		}
		return &transferspb.ListRejectionsResponse{NextPageToken: "more", Rejections: []*transferspb.ListRejectionsResponse_Rejection{{Path: "a/videos/<b>.json", Reason: "title missing; add one"}}}, nil
	})
	b.Get("/operations/abc").Is(200, "1,234", "1,200", "a/videos/&lt;b&gt;.json", "title missing", "page_token=more")
	b.Get("/operations/abc?page_token=more").Is(200, "second")
}

// A newer logic tier can return a result type that this program does not know.
func TestShowIgnoresUnknownResultType(t *testing.T) {
	op := succeeded(t, "future", &emptypb.Empty{})
	op.GetResponse().TypeUrl = "type.googleapis.com/techtalks.future.v1.Response"
	open(t, op).Get("/operations/abc").Is(200, "Done")
}

func TestShowAnswersJSONClient(t *testing.T) {
	b := open(t, running(t))
	p := b.Send(http.MethodGet, "/operations/abc", nil, "Accept", "application/json").Is(200, `"operations/abc"`, `"percent":19`)
	if p.Header.Get("ETag") == "" || p.Header.Get("Retry-After") == "" || !strings.Contains(p.Header.Get("Vary"), "Accept") {
		t.Errorf("got headers %v, want ETag, Retry-After and Vary: Accept", p.Header)
	}
	b.Send(http.MethodGet, "/operations/abc", nil, "Accept", "application/json", "If-None-Match", p.Header.Get("ETag")).Is(http.StatusNotModified)
}

func TestCancelAndDeleteRedirect(t *testing.T) {
	b := open(t, running(t))
	logictest.Answer(b.Logic, cancel, func(_ context.Context, r *longrunningpb.CancelOperationRequest) (*emptypb.Empty, error) {
		if r.Name != "operations/abc" {
			return nil, logictest.Refusal(codes.NotFound, "OPERATION_NOT_FOUND", "operation not found")
		}
		return &emptypb.Empty{}, nil
	})
	logictest.Answer(b.Logic, remove, func(context.Context, *longrunningpb.DeleteOperationRequest) (*emptypb.Empty, error) {
		return &emptypb.Empty{}, nil
	})
	b.Post("/operations/abc/cancel", nil).RedirectsTo("/operations/abc")
	b.Post("/operations/other/cancel", nil).Is(404)
	b.Post("/operations/abc/delete", nil).RedirectsTo("/operations")
	if n := len(b.Logic.Calls(remove)); n != 1 {
		t.Errorf("got %d DeleteOperation calls, want 1", n)
	}
}

func TestListFiltersOperations(t *testing.T) {
	b := open(t, nil)
	logictest.Answer(b.Logic, list, func(_ context.Context, r *longrunningpb.ListOperationsRequest) (*longrunningpb.ListOperationsResponse, error) {
		switch r.Filter {
		case "done = false":
			return &longrunningpb.ListOperationsResponse{Operations: []*longrunningpb.Operation{running(t)}}, nil
		case "done = true":
			return &longrunningpb.ListOperationsResponse{}, nil
		}
		return &longrunningpb.ListOperationsResponse{Operations: []*longrunningpb.Operation{running(t), failed(t)}, NextPageToken: "more"}, nil
	})
	b.Get("/operations").Is(200, "On &lt;looms&gt;", "Running", "Failed", "page_token=more", `href="/operations/abc"`)
	b.Get("/operations?show=running").Is(200, "Running", `href="/operations?show=running" aria-current="page"`).Lacks(">Failed<")
	b.Get("/operations?show=ended").Is(200, "No operations")
}
