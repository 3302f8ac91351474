// Package media stores uploads, turns them into recordings, and serves their files.
//
//	serves      techtalks.media.v1.Media
//	depends on  operations (the handle of a transcode)
//	publishes   media.ready, on the exchange "media"
//	consumes    operation.started.recording, on the queue "media.recording";
//	            talk.withdrawn, on the queue "media.talk-withdrawn";
//	            account.closed, on the queue "media.account-closed"
//
// An upload receives its bytes in chunks, each committed in a transaction of its own, so that
// an interrupted upload resumes after the last committed byte (upload_appender.go). Once
// complete, it is a stored file. An operation transcodes it with ffmpeg: it produces a poster and a 480p
// rendition, the latter in segments that are stored one by one, so that an interrupted
// transcode resumes after the last segment (transcode.go). One transaction then turns the
// upload into a recording and publishes the message about it (publish.go).
package media

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"techtalks.example/logic-tier/platform/postgres"
	"techtalks.example/logic-tier/platform/queue"
	"techtalks.example/logic-tier/platform/work"
	mediapb "techtalks.example/proto/techtalks/media/v1"
	operationspb "techtalks.example/proto/techtalks/operations/v1"
)

// Deps holds the module's dependencies.
type Deps struct {
	// DB is a pool of the role "media", with Options.BinaryParameters set: chunks are binary.
	DB *postgres.DB
	// Publisher publishes the module's messages.
	Publisher queue.Publisher
	// Operations is the client of the operations module, which holds the handles of
	// transcodes.
	Operations operationspb.OperationWorkClient
	// Scratch is the directory that transcodes work in. Its disk needs space for two files of
	// the size of the largest upload per concurrent transcode. Processes can share it. Empty
	// means a directory in the system's directory for temporary files.
	Scratch string
	// LookPath finds ffmpeg and ffprobe; nil means exec.LookPath.
	LookPath func(program string) (string, error)
	// Limits bounds what is stored. Zero fields have defaults.
	Limits Limits
	Log    *slog.Logger
}

// Module is the media module.
type Module struct {
	deps    Deps
	store   store
	chunks  chunkStore
	scratch scratch
	// segmentSeconds is the approximate length of a segment.
	segmentSeconds float64
	// totalBytes is the size of all files: at the last sweep, plus what this process has
	// received since.
	totalBytes atomic.Int64

	appendSessions appendSessions
}

// New returns the module.
func New(d Deps) *Module {
	if d.Scratch == "" {
		d.Scratch = filepath.Join(os.TempDir(), fmt.Sprintf("techtalks-media-%d", os.Getuid()))
	}
	if d.LookPath == nil {
		d.LookPath = exec.LookPath
	}
	d.Limits = d.Limits.withDefaults()
	return &Module{deps: d, store: store{d.DB}, chunks: postgresChunks{d.DB}, scratch: scratch{d.Scratch}, segmentSeconds: segmentSeconds}
}

const (
	// exchange is the exchange on which the module publishes. ready is the type and routing
	// key of the message that a recording is ready, whose body is a mediapb.MediaReady.
	exchange = "media"
	ready    = "media.ready"
	// talksExchange is the talks module's exchange; withdrawn is the routing key of the
	// message that a talk was withdrawn.
	talksExchange  = "talks"
	withdrawn      = "talk.withdrawn"
	withdrawnQueue = "media.talk-withdrawn"
	// accountsExchange is the accounts module's exchange.
	accountsExchange = "accounts"
	closedQueue      = "media.account-closed"
)

// maxTranscodes is how many transcodes run concurrently in a process. The operations module
// runs at most one per account, so a twelve-hour recording of one account does not delay
// another account's. Each runs ffmpeg with two threads, at a low priority.
const maxTranscodes = 2

func (m *Module) transcodeWorker() work.Worker {
	return work.Worker{
		Kind: kind, Queue: "media.recording", Concurrency: maxTranscodes,
		Operations: m.deps.Operations, Do: m.transcodeUpload, Log: m.deps.Log,
	}
}

// kind is the kind of the operations that transcode uploads.
const kind = "recording"

// Topology returns the exchanges and queues that the module publishes to and consumes.
func Topology() []queue.Topology {
	return []queue.Topology{
		(&Module{}).transcodeWorker().Topology(),
		{
			Module: "media", Publishes: []string{exchange},
			Bodies:    map[string]proto.Message{ready: &mediapb.MediaReady{}},
			Exchanges: []queue.Exchange{{Name: exchange, Type: queue.Topic}, {Name: talksExchange, Type: queue.Topic}, {Name: accountsExchange, Type: queue.Topic}},
			Queues: []queue.Queue{
				{Name: withdrawnQueue, Bindings: []queue.Binding{{Exchange: talksExchange, Pattern: withdrawn}}},
				{Name: closedQueue, Bindings: []queue.Binding{{Exchange: accountsExchange, Pattern: "account.closed"}}},
			},
		},
	}
}

// Consumers returns the consumers of the module's queues.
func (m *Module) Consumers() []queue.Consumer {
	return []queue.Consumer{
		m.transcodeWorker().Consumer(),
		{Queue: withdrawnQueue, Concurrency: 1, Handle: queue.Idempotent(m.handleTalkWithdrawn)},
		{Queue: closedQueue, Concurrency: 1, Handle: queue.Idempotent(m.handleAccountClosed)},
	}
}

// Register registers the module's service with a server.
func (m *Module) Register(r grpc.ServiceRegistrar) {
	mediapb.RegisterMediaServer(r, service{module: m})
}

// Run deletes expired uploads, the bytes of deleted files and the work directories of killed
// processes, until ctx ends.
func (m *Module) Run(ctx context.Context) error {
	return m.sweep(ctx)
}
