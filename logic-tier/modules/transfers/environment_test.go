package transfers_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"

	"github.com/fullstorydev/grpchan/inprocgrpc"
	"github.com/ulikunitz/xz"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"techtalks.example/logic-tier/modules/talks"
	"techtalks.example/logic-tier/modules/transfers"
	"techtalks.example/logic-tier/platform/apperror"
	"techtalks.example/logic-tier/platform/caller"
	"techtalks.example/logic-tier/platform/postgres/postgrestest"
	"techtalks.example/logic-tier/platform/queue"
	"techtalks.example/logic-tier/platform/queue/postgresqueue"
	mediapb "techtalks.example/proto/techtalks/media/v1"
	operationspb "techtalks.example/proto/techtalks/operations/v1"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
	transferspb "techtalks.example/proto/techtalks/transfers/v1"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

var (
	ada   = caller.Person{ID: 1, Handle: "ada"}
	grace = caller.Person{ID: 2, Handle: "grace"}
)

// environment is the module with a database of its own, the real talks module, and
// fakes of media and operations.
type environment struct {
	t          testing.TB
	deps       transfers.Deps
	module     *transfers.Module
	transfers  transferspb.TransfersServer
	talks      talkspb.TalksClient
	channels   talkspb.ChannelsClient
	media      *fakeMedia
	operations *fakeOperations
	admin      *sql.DB
	requests   int
}

func (e *environment) RegisterService(_ *grpc.ServiceDesc, service any) {
	e.transfers = service.(transferspb.TransfersServer)
}

// toStatus converts an error as the server does.
func toStatus(err error) error {
	var failure *apperror.Failure
	if errors.As(err, &failure) {
		return failure.Status().Err()
	}
	return err
}

func newEnvironment(t testing.TB) *environment {
	t.Helper()
	database := postgrestest.New(t)
	log := slog.New(slog.DiscardHandler)
	broker := postgresqueue.New(database.Open("queue"), database.Options("queue"), log)
	if err := broker.Declare(t.Context(), talks.Topology(), transfers.Topology()); err != nil {
		t.Fatal(err)
	}
	e := &environment{t: t, media: newFakeMedia(), operations: newFakeOperations(), admin: database.Superuser()}
	channel := new(inprocgrpc.Channel).WithServerUnaryInterceptor(func(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		if call := caller.From(inprocgrpc.ClientContext(ctx)); call.Program != "" {
			ctx = caller.With(ctx, call)
		} else {
			ctx = caller.With(ctx, caller.Call{Program: caller.Module})
		}
		response, err := handle(ctx, request)
		return response, toStatus(err)
	})
	talks.New(talks.Deps{DB: database.Open("talks"), Publisher: broker, Log: log}).Register(channel)
	mediapb.RegisterMediaServer(channel, e.media)
	operationspb.RegisterOperationWorkServer(channel, e.operations)
	e.talks, e.channels = talkspb.NewTalksClient(channel), talkspb.NewChannelsClient(channel)
	e.deps = transfers.Deps{
		DB: database.Open("transfers"), Talks: e.talks, Channels: e.channels,
		Media: mediapb.NewMediaClient(channel), Operations: operationspb.NewOperationWorkClient(channel), Log: log,
	}
	e.module = transfers.New(e.deps)
	e.module.Register(e)
	return e
}

// userContext returns the context of a user's call through the web tier.
func (e *environment) userContext(p caller.Person) context.Context {
	return caller.With(e.t.Context(), caller.Call{Program: "web-tier", Person: &p})
}

// operatorContext returns the context of an operator's call.
func (e *environment) operatorContext() context.Context {
	return caller.With(e.t.Context(), caller.Call{Program: "operator"})
}

// requestID returns a new request ID.
func (e *environment) requestID() string {
	e.requests++
	return fmt.Sprintf("00000000-0000-4000-8000-%012d", e.requests)
}

// startImport starts the import of an archive for the caller in ctx, and returns the
// operation's name.
func (e *environment) startImport(ctx context.Context, content []byte) string {
	e.t.Helper()
	person, _ := caller.PersonFrom(ctx)
	response, err := e.transfers.ImportCatalogue(ctx, &transferspb.ImportCatalogueRequest{Upload: e.media.put(person.ID, "catalogue", content), RequestId: e.requestID()})
	if err != nil {
		e.t.Fatal(err)
	}
	return response.Name
}

// deliver delivers an operation's message to its worker once.
func (e *environment) deliver(ctx context.Context, operation string) error {
	e.t.Helper()
	body, err := proto.Marshal(&operationspb.OperationStarted{Operation: operation})
	if err != nil {
		e.t.Fatal(err)
	}
	consumer := e.module.Consumers()[0]
	if e.operations.get(operation).created.Kind == "export" {
		consumer = e.module.Consumers()[1]
	}
	return consumer.Handle(ctx, queue.Delivery{ContentType: queue.ContentType, Body: body, Count: 1})
}

// runImport runs an import that must succeed, and returns its counts.
func (e *environment) runImport(ctx context.Context, content []byte) *transferspb.ImportCatalogueResponse {
	e.t.Helper()
	operation := e.startImport(ctx, content)
	if err := e.deliver(e.t.Context(), operation); err != nil {
		e.t.Fatal(err)
	}
	return e.counts(operation)
}

func (e *environment) counts(operation string) *transferspb.ImportCatalogueResponse {
	e.t.Helper()
	response := &transferspb.ImportCatalogueResponse{}
	e.response(operation, response)
	return response
}

// response unmarshals the response of an operation that must have succeeded.
func (e *environment) response(operation string, dst proto.Message) {
	e.t.Helper()
	finished := e.operations.get(operation).finished
	if finished.GetResponse() == nil {
		e.t.Fatalf("%s: got %v, want a response", operation, finished)
	}
	if err := finished.GetResponse().UnmarshalTo(dst); err != nil {
		e.t.Fatal(err)
	}
}

// failure returns the reason and the message of an operation that must have failed.
func (e *environment) failure(operation string) (reason, message string) {
	e.t.Helper()
	finished := e.operations.get(operation).finished
	if finished.GetError() == nil {
		e.t.Fatalf("%s: got %v, want an error", operation, finished)
	}
	return reasonOf(status.FromProto(finished.GetError()).Err()), finished.GetError().Message
}

func reasonOf(err error) string {
	for _, detail := range status.Convert(toStatus(err)).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return info.Reason
		}
	}
	return fmt.Sprint(err)
}

// rejections returns the reasons of an import's rejections, by path.
func (e *environment) rejections(ctx context.Context, operation string) map[string]string {
	e.t.Helper()
	reasons := map[string]string{}
	for token := ""; ; {
		response, err := e.transfers.ListRejections(ctx, &transferspb.ListRejectionsRequest{Operation: operation, PageSize: 7, PageToken: token})
		if err != nil {
			e.t.Fatal(err)
		}
		for _, r := range response.Rejections {
			if _, listed := reasons[r.Path]; listed {
				e.t.Errorf("%s is listed twice", r.Path)
			}
			reasons[r.Path] = r.Reason
		}
		if token = response.NextPageToken; token == "" {
			return reasons
		}
	}
}

// deleteTalks deletes all channels and talks.
func (e *environment) deleteTalks() {
	e.t.Helper()
	if _, err := e.admin.Exec(`truncate talks.channel cascade`); err != nil {
		e.t.Fatal(err)
	}
}

// count returns the result of a count query.
func (e *environment) count(statement string) (n int) {
	e.t.Helper()
	if err := e.admin.QueryRow(statement).Scan(&n); err != nil {
		e.t.Fatal(err)
	}
	return n
}

// packedFile is a file to pack into an archive.
type packedFile struct{ path, content string }

func packTar(t testing.TB, files []packedFile) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		if err := errors.Join(w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f.path, Size: int64(len(f.content)), Mode: 0o644}), write(w, f.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func write(w interface{ Write([]byte) (int, error) }, content string) error {
	_, err := w.Write([]byte(content))
	return err
}

func packGzip(t testing.TB, files []packedFile) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if err := errors.Join(write(w, string(packTar(t, files))), w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func packXZ(t testing.TB, files []packedFile) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := xz.NewWriter(&b)
	if err == nil {
		err = errors.Join(write(w, string(packTar(t, files))), w.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func packZip(t testing.TB, files []packedFile) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, f := range files {
		entry, err := w.Create(f.path)
		if err == nil {
			err = write(entry, f.content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

var packers = map[string]func(testing.TB, []packedFile) []byte{"tar": packTar, "tar.gz": packGzip, "tar.xz": packXZ, "zip": packZip}

// catalogue returns the files of a catalogue. Every tenth talk has no title and is
// rejected.
func catalogue(talks, channels int) (files []packedFile) {
	for c := range channels {
		files = append(files, packedFile{fmt.Sprintf("all/event-%d/category.json", c), fmt.Sprintf(`{"title": "Event %d"}`, c)})
	}
	for i := range talks {
		content := fmt.Sprintf(`{"title": "Talk %d"}`, i)
		if i%10 == 9 {
			content = `{}`
		}
		files = append(files, packedFile{fmt.Sprintf("all/event-%d/videos/talk-%d.json", i%channels, i), content})
	}
	return slices.Clip(files)
}
