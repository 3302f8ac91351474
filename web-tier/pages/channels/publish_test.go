package channels_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/anypb"

	operationspb "techtalks.example/proto/techtalks/operations/v1"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
	transferspb "techtalks.example/proto/techtalks/transfers/v1"
	"techtalks.example/web-tier/pages/pagetest"
	"techtalks.example/web-tier/platform/logictest"
)

const requestID = "6f2c8c8e-2f0e-4f54-9d52-0d5d8a5e7a11"

// openOwned opens the pages with PublishRecording answered by an operation and with
// storage for uploads.
func openOwned(t *testing.T) (*pagetest.Browser, *logictest.Media) {
	t.Helper()
	b := open(t).With(logictest.Session)
	metadata, err := anypb.New(&operationspb.OperationMetadata{Kind: "recording", Title: "Recording of “On looms”"})
	if err != nil {
		t.Fatal(err)
	}
	logictest.Answer(b.Logic, talkspb.Talks_PublishRecording_FullMethodName, func(context.Context, *talkspb.PublishRecordingRequest) (*longrunningpb.Operation, error) {
		return &longrunningpb.Operation{Name: "operations/abc", Metadata: metadata}, nil
	})
	return b, logictest.ServeMedia(b.Logic)
}

// published returns the latest PublishRecording request; nil without one.
func published(b *pagetest.Browser) *talkspb.PublishRecordingRequest {
	calls := b.Logic.Calls(talkspb.Talks_PublishRecording_FullMethodName)
	if len(calls) == 0 {
		return nil
	}
	return calls[len(calls)-1].Request.(*talkspb.PublishRecordingRequest)
}

// form encodes a multipart form with a file part, as browsers do. An empty fileName
// means that no file was chosen.
func form(fields url.Values, fileName, kind string, file []byte) (body *bytes.Buffer, contentType string) {
	body = &bytes.Buffer{}
	w := multipart.NewWriter(body)
	for name, values := range fields {
		_ = w.WriteField(name, values[0])
	}
	h := textproto.MIMEHeader{}
	h.Set("Content-Disposition", `form-data; name="file"; filename="`+fileName+`"`)
	h.Set("Content-Type", kind)
	part, _ := w.CreatePart(h)
	_, _ = part.Write(file)
	_ = w.Close()
	return body, w.FormDataContentType()
}

// Without JavaScript the browser sends the file in the form.
func TestPublishStoresFileOfForm(t *testing.T) {
	b, stored := openOwned(t)
	file := bytes.Repeat([]byte("frame "), 200_000)
	body, kind := form(url.Values{"title": {"On looms"}, "speakers": {"Ada, Grace"}, "request_id": {requestID}, "upload": {""}}, "looms.mp4", "video/mp4", file)
	b.Send(http.MethodPost, "/channels/go/talks", body, "Content-Type", kind).RedirectsTo("/operations/abc")
	sent := published(b)
	if sent.Parent != "channels/go" || sent.Talk.Title != "On looms" || len(sent.Talk.Speakers) != 2 || sent.RequestId != requestID {
		t.Errorf("got request %v, want the fields of the form", sent)
	}
	upload, got := stored.Upload(sent.Upload)
	if !bytes.Equal(got, file) || !upload.Whole || upload.FileName != "looms.mp4" || upload.ContentType != "video/mp4" {
		t.Errorf("got %d bytes stored as %v, want %d bytes of looms.mp4", len(got), upload, len(file))
	}
}

func TestPublishCreatesTalkWithoutFile(t *testing.T) {
	b, stored := openOwned(t)
	logictest.Answer(b.Logic, talkspb.Talks_CreateTalk_FullMethodName, func(_ context.Context, q *talkspb.CreateTalkRequest) (*talkspb.CreateTalkResponse, error) {
		return &talkspb.CreateTalkResponse{Talk: &talkspb.Talk{Name: q.Parent + "/talks/" + q.Talk.Title}}, nil
	})
	body, kind := form(url.Values{"title": {"new"}, "request_id": {requestID}}, "", "application/octet-stream", nil)
	b.Send(http.MethodPost, "/channels/go/talks", body, "Content-Type", kind).RedirectsTo("/channels/go/talks/new")
	if stored.UploadCount() != 0 || published(b) != nil {
		t.Error("got an upload or a recording, want neither")
	}
}

// With JavaScript the form names an upload that is already stored. A JSON client
// gets the operation.
func TestPublishUsesNamedUpload(t *testing.T) {
	b, _ := openOwned(t)
	fields := url.Values{"title": {"On looms"}, "request_id": {requestID}, "upload": {"uploads/xyz"}}
	b.Post("/channels/go/talks", fields).RedirectsTo("/operations/abc")
	p := b.Send(http.MethodPost, "/channels/go/talks", strings.NewReader(fields.Encode()),
		"Content-Type", "application/x-www-form-urlencoded", "Accept", "application/json").Is(http.StatusAccepted)
	if published(b).Upload != "uploads/xyz" || p.Header.Get("Location") != "/operations/abc" || p.Header.Get("Retry-After") != "1" || p.Header.Get("Content-Type") != "application/json" {
		t.Errorf("got headers %v, want the operation's location", p.Header)
	}
	var operation struct {
		Name     string
		Metadata struct{ Kind, Title string }
	}
	if err := json.Unmarshal([]byte(p.Text), &operation); err != nil || operation.Name != "operations/abc" || operation.Metadata.Kind != "recording" {
		t.Errorf("got %s (%v), want operation abc of kind recording", p.Text, err)
	}
}

// The response has a Retry-After, and the form keeps its fields and its upload.
func TestPublishKeepsFormWhenTooManyOperationsRun(t *testing.T) {
	b, stored := openOwned(t)
	logictest.Answer(b.Logic, talkspb.Talks_PublishRecording_FullMethodName, func(context.Context, *talkspb.PublishRecordingRequest) (*longrunningpb.Operation, error) {
		return nil, logictest.RefusalRetry(codes.ResourceExhausted, "TOO_MANY_OPERATIONS", "3 of your operations are running and 20 wait; wait for one to finish", 30*time.Second)
	})
	body, kind := form(url.Values{"title": {"On <looms>"}, "request_id": {requestID}}, "looms.mp4", "video/mp4", []byte("frames"))
	p := b.Send(http.MethodPost, "/channels/go/talks", body, "Content-Type", kind).
		Is(http.StatusTooManyRequests, "20 wait", "On &lt;looms&gt;", requestID, `href="/operations">View running operations`, `name="upload" value="uploads/upload1"`, "is already uploaded")
	if p.Header.Get("Retry-After") != "30" || stored.UploadCount() != 1 {
		t.Errorf("got Retry-After %q and %d uploads, want 30 and 1", p.Header.Get("Retry-After"), stored.UploadCount())
	}
	p = b.Send(http.MethodPost, "/channels/go/talks", strings.NewReader("upload=uploads/upload1"),
		"Content-Type", "application/x-www-form-urlencoded", "Accept", "application/json").Is(http.StatusTooManyRequests, `"reason":"TOO_MANY_OPERATIONS"`)
	if p.Header.Get("Retry-After") != "30" || p.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("got headers %v, want problem+json and Retry-After: 30", p.Header)
	}
}

func TestPublishDropsIncompleteUploadFromForm(t *testing.T) {
	b, _ := openOwned(t)
	logictest.Answer(b.Logic, talkspb.Talks_PublishRecording_FullMethodName, func(context.Context, *talkspb.PublishRecordingRequest) (*longrunningpb.Operation, error) {
		return nil, logictest.Refusal(codes.InvalidArgument, "UPLOAD_INCOMPLETE", "the upload is incomplete", "upload", "upload the rest of the file first")
	})
	b.Post("/channels/go/talks", url.Values{"title": {"On looms"}, "request_id": {requestID}, "upload": {"uploads/xyz"}}).
		Is(http.StatusUnprocessableEntity, "Upload the rest of the file first.", `name="upload" value=""`, "On looms")
}

func TestPublishRejectsEmptyFileAndFileOverQuota(t *testing.T) {
	b, stored := openOwned(t)
	fields := url.Values{"title": {"On looms"}, "request_id": {requestID}}
	body, kind := form(fields, "looms.mp4", "video/mp4", nil)
	b.Send(http.MethodPost, "/channels/go/talks", body, "Content-Type", kind).Is(http.StatusUnprocessableEntity, "no bytes", "On looms")
	stored.FailAppends(logictest.Refusal(codes.ResourceExhausted, "QUOTA_EXCEEDED", "storage quota of 20 GiB exceeded; delete uploads"))
	body, kind = form(fields, "looms.mp4", "video/mp4", bytes.Repeat([]byte("x"), 1<<20))
	b.Send(http.MethodPost, "/channels/go/talks", body, "Content-Type", kind).Is(http.StatusTooManyRequests, "20 GiB", "On looms")
	if stored.UploadCount() != 0 || published(b) != nil {
		t.Errorf("got %d uploads or a publication, want none", stored.UploadCount())
	}
}

func TestPublishRemovesUploadWhenBrowserDisconnects(t *testing.T) {
	b, stored := openOwned(t)
	body, kind := form(url.Values{"title": {"On looms"}, "request_id": {requestID}}, "looms.mp4", "video/mp4", bytes.Repeat([]byte("x"), 2<<20))
	ctx, disconnect := context.WithCancel(t.Context())
	defer disconnect()
	reader, writer := io.Pipe()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, b.Address()+"/channels/go/talks", reader)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", kind)
	request.AddCookie(b.SessionCookie(logictest.Session))
	done := make(chan struct{})
	go func() {
		defer close(done)
		if response, err := http.DefaultClient.Do(request); err == nil {
			_ = response.Body.Close()
		}
	}()
	_, _ = io.CopyN(writer, body, 1<<20)
	until(t, "the upload to begin", func() bool { return stored.UploadCount() == 1 })
	disconnect()
	_ = writer.CloseWithError(io.ErrUnexpectedEOF)
	<-done
	until(t, "the upload to be removed", func() bool { return stored.UploadCount() == 0 })
	if published(b) != nil {
		t.Error("got a publication, want none")
	}
}

// until waits up to 20 seconds for condition.
func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting for %s", what)
		}
	}
}

func TestPublishRejectsMalformedMultipartForms(t *testing.T) {
	b, _ := openOwned(t)
	body, kind := form(url.Values{"title": {"A long talk"}, "zzz": {strings.Repeat("x", 300<<10)}}, "", "", nil)
	b.Send(http.MethodPost, "/channels/go/talks", body, "Content-Type", kind).Is(http.StatusRequestEntityTooLarge, "256 KB")
	body = &bytes.Buffer{}
	w := multipart.NewWriter(body)
	for range 1000 {
		_ = w.WriteField("tags", "x")
	}
	_ = w.Close()
	b.Send(http.MethodPost, "/channels/go/talks", body, "Content-Type", w.FormDataContentType()).Is(http.StatusRequestEntityTooLarge)
	body, kind = form(url.Values{"title": {"\xff"}}, "", "", nil)
	b.Send(http.MethodPost, "/channels/go/talks", body, "Content-Type", kind).Is(http.StatusBadRequest, "UTF-8")
	b.Send(http.MethodPost, "/channels/go/talks", strings.NewReader("no boundary"), "Content-Type", "multipart/form-data; boundary=x").Is(http.StatusUnprocessableEntity, "connection broke")
}

func TestExportRedirectsToOperation(t *testing.T) {
	b, _ := openOwned(t)
	logictest.Answer(b.Logic, transferspb.Transfers_ExportArchive_FullMethodName, func(_ context.Context, q *transferspb.ExportArchiveRequest) (*longrunningpb.Operation, error) {
		if q.RequestId != requestID {
			return nil, logictest.RefusalRetry(codes.ResourceExhausted, "TOO_MANY_OPERATIONS", "wait for one to finish", time.Minute)
		}
		return &longrunningpb.Operation{Name: "operations/of-" + strings.TrimPrefix(q.Parent, "channels/")}, nil
	})
	b.Get("/channels/go").Is(200, `action="/channels/go/export"`, `enctype="multipart/form-data"`)
	b.Post("/channels/go/export", url.Values{"request_id": {requestID}}).RedirectsTo("/operations/of-go")
	if p := b.Post("/channels/go/export", nil).Is(http.StatusTooManyRequests, "Wait for one to finish.", `href="/operations">View running operations`); p.Header.Get("Retry-After") != "60" {
		t.Errorf("got Retry-After %q, want 60", p.Header.Get("Retry-After"))
	}
}
