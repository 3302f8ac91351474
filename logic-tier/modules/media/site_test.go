package media_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fullstorydev/grpchan/inprocgrpc"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"techtalks.example/logic-tier/modules/media"
	"techtalks.example/logic-tier/platform/apperror"
	"techtalks.example/logic-tier/platform/caller"
	"techtalks.example/logic-tier/platform/postgres"
	"techtalks.example/logic-tier/platform/postgres/postgrestest"
	"techtalks.example/logic-tier/platform/queue"
	"techtalks.example/logic-tier/platform/queue/postgresqueue"
	mediapb "techtalks.example/proto/techtalks/media/v1"
	"techtalks.example/proto/transport"
)

func TestMain(m *testing.M) {
	runForKilling()
	postgrestest.Main(m)
}

// patience bounds every wait for a condition.
const patience = 3 * time.Minute

// Who calls.
var (
	ada      = caller.Call{Program: transport.WebTier, Person: &caller.Person{ID: 1, Handle: "ada"}}
	grace    = caller.Call{Program: transport.WebTier, Person: &caller.Person{ID: 2, Handle: "grace"}}
	nobody   = caller.Call{Program: transport.WebTier}
	operator = caller.Call{Program: transport.Operator}
	module   = caller.Call{Program: caller.Module}
)

// site is a database, and any number of replicas of the module on it.
type site struct {
	t          *testing.T
	database   *postgrestest.Database
	inside     *sql.DB
	operations *operations
	heard      *heard
}

func newSite(t *testing.T) *site {
	t.Helper()
	database := postgrestest.New(t)
	s := &site{t: t, database: database, inside: database.Superuser(), operations: newOperations(), heard: &heard{}}
	topology := append(media.Topology(), queue.Topology{
		Queues: []queue.Queue{{Name: "test.media-ready", Bindings: []queue.Binding{{Exchange: "media", Pattern: "media.ready"}}}},
	})
	if err := s.engine().Declare(t.Context(), topology...); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *site) engine() *postgresqueue.Queue {
	return postgresqueue.New(s.database.Open("queue"), s.database.Options("queue"), slog.New(slog.DiscardHandler))
}

// heard is the messages that a recording is ready.
type heard struct {
	mu  sync.Mutex
	all []*mediapb.MediaReady
}

func (h *heard) hear(_ context.Context, d queue.Delivery) error {
	ready := &mediapb.MediaReady{}
	if err := proto.Unmarshal(d.Body, ready); err != nil {
		return queue.Reject(err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, ready)
	return nil
}

func (h *heard) messages() []*mediapb.MediaReady {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.all
}

// replica is the module in one process.
type replica struct {
	mediapb.MediaClient
	site    *site
	module  *media.Module
	engine  *postgresqueue.Queue
	scratch string
	stop    func()
}

// start runs a replica until stop, or the end of the test.
func (s *site) start(change ...func(*media.Needs)) *replica {
	s.t.Helper()
	options := s.database.Options("media")
	options.BinaryParameters = true
	db, err := postgres.Open(options)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = db.Close() })
	r := &replica{site: s, engine: s.engine(), scratch: s.t.TempDir()}
	needs := media.Needs{
		DB: db, Publisher: r.engine, Operations: s.operations, Scratch: r.scratch,
		Log: slog.New(slog.NewTextHandler(s.t.Output(), nil)),
	}
	for _, c := range change {
		c(&needs)
	}
	r.module = media.New(needs)
	r.MediaClient = client(r.module)

	ctx, cancel := context.WithCancel(s.t.Context())
	var running sync.WaitGroup
	run := func(do func(context.Context) error) {
		running.Go(func() {
			if err := do(ctx); err != nil {
				s.t.Error(err)
			}
		})
	}
	run(r.engine.Run)
	run(r.module.Run)
	for _, c := range append(r.module.Consumers(), queue.Consumer{Queue: "test.media-ready", Handle: s.heard.hear}) {
		run(func(ctx context.Context) error { return r.engine.Consume(ctx, c) })
	}
	r.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
	s.t.Cleanup(r.stop)
	return r
}

// client calls the module as the caller in the context, as the server would.
func client(m *media.Module) mediapb.MediaClient {
	who := func(ctx context.Context) context.Context {
		return caller.With(ctx, caller.From(inprocgrpc.ClientContext(ctx)))
	}
	channel := new(inprocgrpc.Channel).
		WithServerUnaryInterceptor(func(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
			return handle(who(ctx), request)
		}).
		WithServerStreamInterceptor(func(server any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
			return handle(server, &as{stream, who(stream.Context())})
		})
	m.Register(channel)
	return mediapb.NewMediaClient(channel)
}

type as struct {
	grpc.ServerStream
	ctx context.Context
}

func (a *as) Context() context.Context { return a.ctx }

func (r *replica) as(who caller.Call) context.Context { return caller.With(r.site.t.Context(), who) }

// begin begins an upload and returns its name.
func (r *replica) begin(who caller.Call, request *mediapb.CreateUploadRequest) string {
	r.site.t.Helper()
	answer, err := r.CreateUpload(r.as(who), request)
	if err != nil {
		r.site.t.Fatal(err)
	}
	return answer.Upload.Name
}

// append sends data in messages of some size, and returns what was answered.
func (r *replica) append(who caller.Call, name string, offset int64, data []byte, size int) (*mediapb.Upload, error) {
	return r.appendIn(r.as(who), name, offset, data, size)
}

func (r *replica) appendIn(ctx context.Context, name string, offset int64, data []byte, size int) (*mediapb.Upload, error) {
	call, err := r.AppendUpload(ctx)
	if err != nil {
		return nil, err
	}
	message := &mediapb.AppendUploadRequest{Name: name, Offset: offset}
	for {
		message.Data = data[:min(size, len(data))]
		data = data[len(message.Data):]
		if err := call.Send(message); err != nil || len(data) == 0 {
			break // what is wrong is in the answer
		}
		message = &mediapb.AppendUploadRequest{}
	}
	answer, err := call.CloseAndRecv()
	return answer.GetUpload(), err
}

// send uploads data whole and returns the upload's name.
func (r *replica) send(who caller.Call, fileName string, data []byte) string {
	r.site.t.Helper()
	name := r.begin(who, &mediapb.CreateUploadRequest{Size: proto.Int64(int64(len(data))), FileName: fileName, Sha256: sum(data)})
	if u, err := r.append(who, name, 0, data, 300_000); err != nil || !u.Whole {
		r.site.t.Fatalf("%v, %v", u, err)
	}
	return name
}

// read returns bytes of a file.
func (r *replica) read(who caller.Call, name string, offset, limit int64) ([]byte, error) {
	call, err := r.ReadFile(r.as(who), &mediapb.ReadFileRequest{Name: name, Offset: offset, Limit: limit})
	if err != nil {
		return nil, err
	}
	var all []byte
	for {
		piece, err := call.Recv()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		all = append(all, piece.Data...)
	}
}

func (s *site) count(query string, arguments ...any) (n int) {
	s.t.Helper()
	if err := s.inside.QueryRow(query, arguments...).Scan(&n); err != nil {
		s.t.Fatal(err)
	}
	return n
}

func (s *site) exec(statement string, arguments ...any) {
	s.t.Helper()
	if _, err := s.inside.Exec(statement, arguments...); err != nil {
		s.t.Fatal(err)
	}
}

// until waits for a condition.
func (s *site) until(what string, is func() bool) {
	s.t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("%s: not in %s", what, patience)
		}
	}
}

// swept sweeps and says what is left: files, and their chunks.
func (r *replica) swept() (files, chunks int) {
	r.site.t.Helper()
	r.site.until("everything removed is gone", func() bool {
		if err := r.module.SweepNow(r.site.t.Context()); err != nil {
			r.site.t.Fatal(err)
		}
		return r.site.count(`select count(*) from media.file where removed`) == 0
	})
	return r.site.count(`select count(*) from media.file`), r.site.count(`select count(*) from media.chunk`)
}

// wants fails unless err is a refusal for a reason.
func wants(t *testing.T, err error, reason string) *apperror.Failure {
	t.Helper()
	var refused *apperror.Failure
	if !errors.As(err, &refused) || refused.Reason != reason {
		t.Errorf("got %v, want %s", err, reason)
		return &apperror.Failure{}
	}
	return refused
}

func sum(data []byte) string {
	digest := sha256.Sum256(data)
	return hex.EncodeToString(digest[:])
}

// noise is bytes that nothing compresses, the same for the same seed.
func noise(seed byte, size int) []byte {
	data := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(data)
	return data
}

// ffmpeg makes a test recording and returns its bytes.
func ffmpeg(t *testing.T, suffix string, arguments ...string) []byte {
	t.Helper()
	path := t.TempDir() + "/recording" + suffix
	command := exec.Command("ffmpeg", append(append([]string{"-v", "error", "-nostdin", "-y"}, arguments...), path)...)
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("ffmpeg %s: %v\n%s", strings.Join(arguments, " "), err, output)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// same fails unless got is want, and says where they part.
func same(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if bytes.Equal(got, want) {
		return
	}
	at := 0
	for at < len(got) && at < len(want) && got[at] == want[at] {
		at++
	}
	t.Errorf("%s: %d bytes, want %d; they part at %d", what, len(got), len(want), at)
}
