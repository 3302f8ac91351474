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

// openStudio opens a channel of the caller's whose recordings become operations.
func openStudio(t *testing.T) (*pagetest.Browser, *logictest.Media) {
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

func published(b *pagetest.Browser) *talkspb.PublishRecordingRequest {
	calls := b.Logic.Calls(talkspb.Talks_PublishRecording_FullMethodName)
	if len(calls) == 0 {
		return nil
	}
	return calls[len(calls)-1].Request.(*talkspb.PublishRecordingRequest)
}

// form writes a form with a file, as browsers do; a file without a name is none.
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

// Without JavaScript the file comes with the form.
func TestAFormWithAFilePublishesItsRecording(t *testing.T) {
	b, kept := openStudio(t)
	file := bytes.Repeat([]byte("frame "), 200_000)
	body, kind := form(url.Values{"title": {"On looms"}, "speakers": {"Ada, Grace"}, "request_id": {requestID}, "upload": {""}}, "looms.mp4", "video/mp4", file)
	b.Send(http.MethodPost, "/channels/go/talks", body, "Content-Type", kind).RedirectsTo("/operations/abc")
	sent := published(b)
	if sent.Parent != "channels/go" || sent.Talk.Title != "On looms" || len(sent.Talk.Speakers) != 2 || sent.RequestId != requestID {
		t.Errorf("sent %v", sent)
	}
	upload, got := kept.Upload(sent.Upload)
	if !bytes.Equal(got, file) || !upload.Whole || upload.FileName != "looms.mp4" || upload.ContentType != "video/mp4" {
		t.Errorf("kept %d bytes of %v", len(got), upload)
	}
}

func TestAFormWithoutAFilePublishesAtOnce(t *testing.T) {
	b, kept := openStudio(t)
	logictest.Answer(b.Logic, talkspb.Talks_CreateTalk_FullMethodName, func(_ context.Context, q *talkspb.CreateTalkRequest) (*talkspb.CreateTalkResponse, error) {
		return &talkspb.CreateTalkResponse{Talk: &talkspb.Talk{Name: q.Parent + "/talks/" + q.Talk.Title}}, nil
	})
	body, kind := form(url.Values{"title": {"new"}, "request_id": {requestID}}, "", "application/octet-stream", nil)
	b.Send(http.MethodPost, "/channels/go/talks", body, "Content-Type", kind).RedirectsTo("/channels/go/talks/new")
	if kept.UploadCount() != 0 || published(b) != nil {
		t.Error("something was uploaded")
	}
}

// With JavaScript the form names what was uploaded before; a program is given the
// handle.
func TestAnUploadThatIsThereIsPublished(t *testing.T) {
	b, _ := openStudio(t)
	fields := url.Values{"title": {"On looms"}, "request_id": {requestID}, "upload": {"uploads/xyz"}}
	b.Post("/channels/go/talks", fields).RedirectsTo("/operations/abc")
	p := b.Send(http.MethodPost, "/channels/go/talks", strings.NewReader(fields.Encode()),
		"Content-Type", "application/x-www-form-urlencoded", "Accept", "application/json").Is(http.StatusAccepted)
	if published(b).Upload != "uploads/xyz" || p.Header.Get("Location") != "/operations/abc" || p.Header.Get("Retry-After") != "1" || p.Header.Get("Content-Type") != "application/json" {
		t.Errorf("answered %v", p.Header)
	}
	var operation struct {
		Name     string
		Metadata struct{ Kind, Title string }
	}
	if err := json.Unmarshal([]byte(p.Text), &operation); err != nil || operation.Name != "operations/abc" || operation.Metadata.Kind != "recording" {
		t.Errorf("answered %s: %v", p.Text, err)
	}
}

// Too much at once is said, with when to come back; nothing that was typed or
// sent is lost.
func TestTooManyOperationsKeepWhatIsThere(t *testing.T) {
	b, kept := openStudio(t)
	logictest.Answer(b.Logic, talkspb.Talks_PublishRecording_FullMethodName, func(context.Context, *talkspb.PublishRecordingRequest) (*longrunningpb.Operation, error) {
		return nil, logictest.RefusalRetry(codes.ResourceExhausted, "TOO_MANY_OPERATIONS", "3 of your operations run and 20 wait; wait for one to end", 30*time.Second)
	})
	body, kind := form(url.Values{"title": {"On <looms>"}, "request_id": {requestID}}, "looms.mp4", "video/mp4", []byte("frames"))
	p := b.Send(http.MethodPost, "/channels/go/talks", body, "Content-Type", kind).
		Is(http.StatusTooManyRequests, "20 wait", "On &lt;looms&gt;", requestID, `href="/operations">View running operations`, `name="upload" value="uploads/upload1"`, "is already uploaded")
	if p.Header.Get("Retry-After") != "30" || kept.UploadCount() != 1 {
		t.Errorf("Retry-After %q, %d uploads", p.Header.Get("Retry-After"), kept.UploadCount())
	}
	p = b.Send(http.MethodPost, "/channels/go/talks", strings.NewReader("upload=uploads/upload1"),
		"Content-Type", "application/x-www-form-urlencoded", "Accept", "application/json").Is(http.StatusTooManyRequests, `"reason":"TOO_MANY_OPERATIONS"`)
	if p.Header.Get("Retry-After") != "30" || p.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("answered %v", p.Header)
	}
}

func TestAnUploadThatIsGoneIsNotKept(t *testing.T) {
	b, _ := openStudio(t)
	logictest.Answer(b.Logic, talkspb.Talks_PublishRecording_FullMethodName, func(context.Context, *talkspb.PublishRecordingRequest) (*longrunningpb.Operation, error) {
		return nil, logictest.Refusal(codes.InvalidArgument, "UPLOAD_INCOMPLETE", "not all of the file is there", "upload", "send the rest of the file first")
	})
	b.Post("/channels/go/talks", url.Values{"title": {"On looms"}, "request_id": {requestID}, "upload": {"uploads/xyz"}}).
		Is(http.StatusUnprocessableEntity, "Send the rest of the file first.", `name="upload" value=""`, "On looms")
}

func TestFilesThatAreRefused(t *testing.T) {
	b, kept := openStudio(t)
	fields := url.Values{"title": {"On looms"}, "request_id": {requestID}}
	body, kind := form(fields, "looms.mp4", "video/mp4", nil)
	b.Send(http.MethodPost, "/channels/go/talks", body, "Content-Type", kind).Is(http.StatusUnprocessableEntity, "no bytes", "On looms")
	kept.FailAppends(logictest.Refusal(codes.ResourceExhausted, "QUOTA_EXCEEDED", "your account keeps 20 GiB already; delete something"))
	body, kind = form(fields, "looms.mp4", "video/mp4", bytes.Repeat([]byte("x"), 1<<20))
	b.Send(http.MethodPost, "/channels/go/talks", body, "Content-Type", kind).Is(http.StatusTooManyRequests, "20 GiB", "On looms")
	if kept.UploadCount() != 0 || published(b) != nil {
		t.Errorf("%d uploads are left", kept.UploadCount())
	}
}

// A browser that goes away in the middle of a file leaves nothing behind.
func TestAFormThatBreaksLeavesNothing(t *testing.T) {
	b, kept := openStudio(t)
	body, kind := form(url.Values{"title": {"On looms"}, "request_id": {requestID}}, "looms.mp4", "video/mp4", bytes.Repeat([]byte("x"), 2<<20))
	ctx, gone := context.WithCancel(t.Context())
	defer gone()
	rest, writer := io.Pipe()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, b.Address()+"/channels/go/talks", rest)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", kind)
	request.AddCookie(b.SessionCookie(logictest.Session))
	over := make(chan struct{})
	go func() {
		defer close(over)
		if response, err := http.DefaultClient.Do(request); err == nil {
			_ = response.Body.Close()
		}
	}()
	_, _ = io.CopyN(writer, body, 1<<20)
	until(t, "it arrives", func() bool { return kept.UploadCount() == 1 })
	gone()
	_ = writer.CloseWithError(io.ErrUnexpectedEOF)
	<-over
	until(t, "it is removed", func() bool { return kept.UploadCount() == 0 })
	if published(b) != nil {
		t.Error("it was published")
	}
}

func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not yet: %s", what)
		}
	}
}

func TestFormsOfManyPartsAreBounded(t *testing.T) {
	b, _ := openStudio(t)
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

func TestAChannelIsExported(t *testing.T) {
	b, _ := openStudio(t)
	logictest.Answer(b.Logic, transferspb.Transfers_ExportArchive_FullMethodName, func(_ context.Context, q *transferspb.ExportArchiveRequest) (*longrunningpb.Operation, error) {
		if q.RequestId != requestID {
			return nil, logictest.RefusalRetry(codes.ResourceExhausted, "TOO_MANY_OPERATIONS", "wait for one to end", time.Minute)
		}
		return &longrunningpb.Operation{Name: "operations/of-" + strings.TrimPrefix(q.Parent, "channels/")}, nil
	})
	b.Get("/channels/go").Is(200, `action="/channels/go/export"`, `enctype="multipart/form-data"`)
	b.Post("/channels/go/export", url.Values{"request_id": {requestID}}).RedirectsTo("/operations/of-go")
	b.With("").Post("/channels/go/export", nil).RedirectsTo("/sign-in?next=%2Fchannels%2Fgo")
	if p := b.Post("/channels/go/export", nil).Is(http.StatusTooManyRequests, "Wait for one to end.", `href="/operations">View running operations`); p.Header.Get("Retry-After") != "60" {
		t.Errorf("Retry-After %q", p.Header.Get("Retry-After"))
	}
}
