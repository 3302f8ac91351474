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
	runAsWorker()
	postgrestest.Main(m)
}

// waitTimeout bounds every wait for a condition.
const waitTimeout = 3 * time.Minute

// Callers.
var (
	ada       = caller.Call{Program: transport.WebTier, Person: &caller.Person{ID: 1, Handle: "ada"}}
	grace     = caller.Call{Program: transport.WebTier, Person: &caller.Person{ID: 2, Handle: "grace"}}
	anonymous = caller.Call{Program: transport.WebTier}
	operator  = caller.Call{Program: transport.Operator}
	module    = caller.Call{Program: caller.Module}
)

// site is a database with any number of replicas of the module.
type site struct {
	t          *testing.T
	database   *postgrestest.Database
	superuser  *sql.DB
	operations *fakeOperations
	ready      *readyMessages
}

func newSite(t *testing.T) *site {
	t.Helper()
	database := postgrestest.New(t)
	s := &site{t: t, database: database, superuser: database.Superuser(), operations: newFakeOperations(), ready: &readyMessages{}}
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

// readyMessages collects the messages that a recording is ready.
type readyMessages struct {
	mu       sync.Mutex
	messages []*mediapb.MediaReady
}

func (r *readyMessages) handle(_ context.Context, d queue.Delivery) error {
	ready := &mediapb.MediaReady{}
	if err := proto.Unmarshal(d.Body, ready); err != nil {
		return queue.Reject(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.messages = append(r.messages, ready)
	return nil
}

func (r *readyMessages) all() []*mediapb.MediaReady {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.messages
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

// start runs a replica until stop is called or the test ends.
func (s *site) start(change ...func(*media.Deps)) *replica {
	s.t.Helper()
	options := s.database.Options("media")
	options.BinaryParameters = true
	db, err := postgres.Open(options)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = db.Close() })
	r := &replica{site: s, engine: s.engine(), scratch: s.t.TempDir()}
	deps := media.Deps{
		DB: db, Publisher: r.engine, Operations: s.operations, Scratch: r.scratch,
		Log: slog.New(slog.NewTextHandler(s.t.Output(), nil)),
	}
	for _, c := range change {
		c(&deps)
	}
	r.module = media.New(deps)
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
	for _, c := range append(r.module.Consumers(), queue.Consumer{Queue: "test.media-ready", Handle: s.ready.handle}) {
		run(func(ctx context.Context) error { return r.engine.Consume(ctx, c) })
	}
	r.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
	s.t.Cleanup(r.stop)
	return r
}

// client returns an in-process client of the module. A call is made as the caller in its
// context.
func client(m *media.Module) mediapb.MediaClient {
	withCaller := func(ctx context.Context) context.Context {
		return caller.With(ctx, caller.From(inprocgrpc.ClientContext(ctx)))
	}
	channel := new(inprocgrpc.Channel).
		WithServerUnaryInterceptor(func(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
			return handle(withCaller(ctx), request)
		}).
		WithServerStreamInterceptor(func(server any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
			return handle(server, &streamWithContext{stream, withCaller(stream.Context())})
		})
	m.Register(channel)
	return mediapb.NewMediaClient(channel)
}

type streamWithContext struct {
	grpc.ServerStream
	ctx context.Context
}

func (s *streamWithContext) Context() context.Context { return s.ctx }

// ctx returns a context for calls made as c.
func (r *replica) ctx(c caller.Call) context.Context { return caller.With(r.site.t.Context(), c) }

// createUpload creates an upload and returns its name.
func (r *replica) createUpload(c caller.Call, request *mediapb.CreateUploadRequest) string {
	r.site.t.Helper()
	response, err := r.CreateUpload(r.ctx(c), request)
	if err != nil {
		r.site.t.Fatal(err)
	}
	return response.Upload.Name
}

// appendUpload appends data in messages of at most size bytes.
func (r *replica) appendUpload(c caller.Call, name string, offset int64, data []byte, size int) (*mediapb.Upload, error) {
	call, err := r.AppendUpload(r.ctx(c))
	if err != nil {
		return nil, err
	}
	message := &mediapb.AppendUploadRequest{Name: name, Offset: offset}
	for {
		message.Data = data[:min(size, len(data))]
		data = data[len(message.Data):]
		if err := call.Send(message); err != nil || len(data) == 0 {
			break // CloseAndRecv returns the error of the call
		}
		message = &mediapb.AppendUploadRequest{}
	}
	response, err := call.CloseAndRecv()
	return response.GetUpload(), err
}

// uploadFile creates an upload, appends all of data and returns the upload's name.
func (r *replica) uploadFile(c caller.Call, fileName string, data []byte) string {
	r.site.t.Helper()
	name := r.createUpload(c, &mediapb.CreateUploadRequest{Size: proto.Int64(int64(len(data))), FileName: fileName, Sha256: sha256Hex(data)})
	if u, err := r.appendUpload(c, name, 0, data, 300_000); err != nil || !u.Whole {
		r.site.t.Fatalf("got upload %v, %v; want it complete", u, err)
	}
	return name
}

// readFile returns at most limit bytes of a file from offset on; 0 means no limit.
func (r *replica) readFile(c caller.Call, name string, offset, limit int64) ([]byte, error) {
	call, err := r.ReadFile(r.ctx(c), &mediapb.ReadFileRequest{Name: name, Offset: offset, Limit: limit})
	if err != nil {
		return nil, err
	}
	var data []byte
	for {
		response, err := call.Recv()
		if errors.Is(err, io.EOF) {
			return data, nil
		}
		if err != nil {
			return data, err
		}
		data = append(data, response.Data...)
	}
}

func (s *site) count(query string, arguments ...any) (n int) {
	s.t.Helper()
	if err := s.superuser.QueryRow(query, arguments...).Scan(&n); err != nil {
		s.t.Fatal(err)
	}
	return n
}

func (s *site) exec(statement string, arguments ...any) {
	s.t.Helper()
	if _, err := s.superuser.Exec(statement, arguments...); err != nil {
		s.t.Fatal(err)
	}
}

// waitFor waits until a condition holds, and fails the test after waitTimeout.
func waitFor(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(waitTimeout); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out after %s waiting for %s", waitTimeout, what)
		}
	}
}

func (s *site) waitFor(what string, holds func() bool) {
	s.t.Helper()
	waitFor(s.t, what, holds)
}

// sweep sweeps until the chunks of all deleted files are gone, and returns the number of
// files and chunks left.
func (r *replica) sweep() (files, chunks int) {
	r.site.t.Helper()
	r.site.waitFor("deleted files to be purged", func() bool {
		if err := r.module.SweepNow(r.site.t.Context()); err != nil {
			r.site.t.Fatal(err)
		}
		return r.site.count(`select count(*) from media.file where removed`) == 0
	})
	return r.site.count(`select count(*) from media.file`), r.site.count(`select count(*) from media.chunk`)
}

// wantReason fails the test unless err is an apperror.Failure with a reason code.
func wantReason(t *testing.T, err error, reason string) {
	t.Helper()
	var failure *apperror.Failure
	if !errors.As(err, &failure) || failure.Reason != reason {
		t.Errorf("got error %v, want %s", err, reason)
	}
}

func sha256Hex(data []byte) string {
	digest := sha256.Sum256(data)
	return hex.EncodeToString(digest[:])
}

// randomBytes returns incompressible bytes, the same for the same seed.
func randomBytes(seed byte, size int) []byte {
	data := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(data)
	return data
}

// ffmpeg encodes a test recording and returns its bytes.
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

// wantBytes fails the test unless got equals want, and reports where they differ.
func wantBytes(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if bytes.Equal(got, want) {
		return
	}
	i := 0
	for i < len(got) && i < len(want) && got[i] == want[i] {
		i++
	}
	t.Errorf("%s: got %d bytes, want %d; they differ from byte %d on", what, len(got), len(want), i)
}
