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

// site is the module beside the real talks module, with a database of its own and
// stand-ins for media and operations.
type site struct {
	t          testing.TB
	needs      transfers.Needs
	module     *transfers.Module
	transfers  transferspb.TransfersServer
	talks      talkspb.TalksClient
	channels   talkspb.ChannelsClient
	media      *media
	operations *operations
	admin      *sql.DB
	requests   int
}

func (s *site) RegisterService(_ *grpc.ServiceDesc, service any) {
	s.transfers = service.(transferspb.TransfersServer)
}

// toStatus answers as the server does.
func toStatus(err error) error {
	var refused *apperror.Failure
	if errors.As(err, &refused) {
		return refused.Status().Err()
	}
	return err
}

func newSite(t testing.TB) *site {
	t.Helper()
	database := postgrestest.New(t)
	log := slog.New(slog.DiscardHandler)
	broker := postgresqueue.New(database.Open("queue"), database.Options("queue"), log)
	if err := broker.Declare(t.Context(), talks.Topology(), transfers.Topology()); err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, media: newMedia(), operations: newOperations(), admin: database.Superuser()}
	channel := new(inprocgrpc.Channel).WithServerUnaryInterceptor(func(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		if from := caller.From(inprocgrpc.ClientContext(ctx)); from.Program != "" {
			ctx = caller.With(ctx, from)
		} else {
			ctx = caller.With(ctx, caller.Call{Program: caller.Module})
		}
		response, err := handle(ctx, request)
		return response, toStatus(err)
	})
	talks.New(talks.Deps{DB: database.Open("talks"), Publisher: broker, Log: log}).Register(channel)
	mediapb.RegisterMediaServer(channel, s.media)
	operationspb.RegisterOperationWorkServer(channel, s.operations)
	s.talks, s.channels = talkspb.NewTalksClient(channel), talkspb.NewChannelsClient(channel)
	s.needs = transfers.Needs{
		DB: database.Open("transfers"), Talks: s.talks, Channels: s.channels,
		Media: mediapb.NewMediaClient(channel), Operations: operationspb.NewOperationWorkClient(channel), Log: log,
	}
	s.module = transfers.New(s.needs)
	s.module.Register(s)
	return s
}

// as returns the context of a call made for a person through the web tier.
func (s *site) as(p caller.Person) context.Context {
	return caller.With(s.t.Context(), caller.Call{Program: "web-tier", Person: &p})
}

// operator returns the context of the operator's call.
func (s *site) operator() context.Context {
	return caller.With(s.t.Context(), caller.Call{Program: "operator"})
}

func (s *site) request() string {
	s.requests++
	return fmt.Sprintf("00000000-0000-4000-8000-%012d", s.requests)
}

// begun begins an import of an archive, for who calls, and returns its handle.
func (s *site) begun(ctx context.Context, content []byte) string {
	s.t.Helper()
	person, _ := caller.PersonFrom(ctx)
	answer, err := s.transfers.ImportCatalogue(ctx, &transferspb.ImportCatalogueRequest{Upload: s.media.put(person.ID, "catalogue", content), RequestId: s.request()})
	if err != nil {
		s.t.Fatal(err)
	}
	return answer.Name
}

// work has an operation worked once, as when its message is delivered.
func (s *site) work(ctx context.Context, operation string) error {
	s.t.Helper()
	body, err := proto.Marshal(&operationspb.OperationStarted{Operation: operation})
	if err != nil {
		s.t.Fatal(err)
	}
	consumer := s.module.Consumers()[0]
	if s.operations.of(operation).created.Kind == "export" {
		consumer = s.module.Consumers()[1]
	}
	return consumer.Handle(ctx, queue.Delivery{ContentType: queue.ContentType, Body: body, Count: 1})
}

// imported works an import to its end, and returns its counts.
func (s *site) imported(ctx context.Context, content []byte) *transferspb.ImportCatalogueResponse {
	s.t.Helper()
	operation := s.begun(ctx, content)
	if err := s.work(s.t.Context(), operation); err != nil {
		s.t.Fatal(err)
	}
	return s.counts(operation)
}

func (s *site) counts(operation string) *transferspb.ImportCatalogueResponse {
	s.t.Helper()
	response := &transferspb.ImportCatalogueResponse{}
	s.response(operation, response)
	return response
}

// response reads what a finished operation answers.
func (s *site) response(operation string, into proto.Message) {
	s.t.Helper()
	finished := s.operations.of(operation).finished
	if finished.GetResponse() == nil {
		s.t.Fatalf("%s ended with %v", operation, finished)
	}
	if err := finished.GetResponse().UnmarshalTo(into); err != nil {
		s.t.Fatal(err)
	}
}

// failed returns why an operation failed, and what is said of it.
func (s *site) failed(operation string) (reason, message string) {
	s.t.Helper()
	finished := s.operations.of(operation).finished
	if finished.GetError() == nil {
		s.t.Fatalf("%s ended with %v", operation, finished)
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

// rejections returns what an import refused, by path.
func (s *site) rejections(ctx context.Context, operation string) map[string]string {
	s.t.Helper()
	all := map[string]string{}
	for token := ""; ; {
		answer, err := s.transfers.ListRejections(ctx, &transferspb.ListRejectionsRequest{Operation: operation, PageSize: 7, PageToken: token})
		if err != nil {
			s.t.Fatal(err)
		}
		for _, r := range answer.Rejections {
			if _, twice := all[r.Path]; twice {
				s.t.Errorf("%s is refused twice", r.Path)
			}
			all[r.Path] = r.Reason
		}
		if token = answer.NextPageToken; token == "" {
			return all
		}
	}
}

// forgetTalks removes all channels and talks.
func (s *site) forgetTalks() {
	s.t.Helper()
	if _, err := s.admin.Exec(`truncate talks.channel cascade`); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) count(statement string) (n int) {
	s.t.Helper()
	if err := s.admin.QueryRow(statement).Scan(&n); err != nil {
		s.t.Fatal(err)
	}
	return n
}

// packed is a file to be packed.
type packed struct{ path, content string }

func packTar(t testing.TB, files []packed) []byte {
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

func packGzip(t testing.TB, files []packed) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if err := errors.Join(write(w, string(packTar(t, files))), w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func packXZ(t testing.TB, files []packed) []byte {
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

func packZip(t testing.TB, files []packed) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, f := range files {
		one, err := w.Create(f.path)
		if err == nil {
			err = write(one, f.content)
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

var packers = map[string]func(testing.TB, []packed) []byte{"tar": packTar, "tar.gz": packGzip, "tar.xz": packXZ, "zip": packZip}

// catalogue is a catalogue of so many talks on so many channels; every tenth talk
// has no title and is refused.
func catalogue(talks, channels int) (files []packed) {
	for c := range channels {
		files = append(files, packed{fmt.Sprintf("all/event-%d/category.json", c), fmt.Sprintf(`{"title": "Event %d"}`, c)})
	}
	for i := range talks {
		content := fmt.Sprintf(`{"title": "Talk %d"}`, i)
		if i%10 == 9 {
			content = `{}`
		}
		files = append(files, packed{fmt.Sprintf("all/event-%d/videos/talk-%d.json", i%channels, i), content})
	}
	return slices.Clip(files)
}
