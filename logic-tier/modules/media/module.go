// Package media takes files in pieces that survive any interruption, makes
// recordings of them, and gives their bytes out again.
//
//	serves      techtalks.media.v1.Media
//	depends on  operations (the handle on the making of a recording)
//	publishes   media.ready, on the exchange "media"
//	consumes    operation.started.recording, on the queue "media.recording";
//	            talk.withdrawn, on the queue "media.talk-withdrawn";
//	            account.closed, on the queue "media.account-closed"
//
// Bytes are kept in chunks, a chunk a transaction (append.go). A recording is
// made by ffmpeg, a segment at a time, each kept before the next begins
// (worker.go), and appears with its message in one transaction (publish.go).
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

// Needs is what the module is given.
type Needs struct {
	// DB is a pool of the role "media"; Options.BinaryParameters suits it.
	DB *postgres.DB
	// Publisher takes what the module says.
	Publisher queue.Publisher
	// Operations keeps the handle on the making of a recording.
	Operations operationspb.OperationWorkClient
	// Scratch is the folder in which recordings are made, on a disk that has room
	// for the two files of each recording that is made at a time, of the size of the
	// largest upload. Processes may share it. Empty means one in the
	// system's own for temporary files.
	Scratch string
	// LookPath finds ffmpeg and ffprobe; nil means on PATH.
	LookPath func(program string) (string, error)
	// Limits bounds what accounts may keep; its zero fields have defaults.
	Limits Limits
	Log    *slog.Logger
}

// Module is the media module.
type Module struct {
	needs   Needs
	store   store
	storage storage
	scratch scratch
	segment float64 // seconds of a segment, about
	// total is how many bytes all files have: as of the last sweep, and what this
	// process added since.
	total atomic.Int64

	appenders appenders
}

// New returns the module.
func New(n Needs) *Module {
	if n.Scratch == "" {
		n.Scratch = filepath.Join(os.TempDir(), fmt.Sprintf("techtalks-media-%d", os.Getuid()))
	}
	if n.LookPath == nil {
		n.LookPath = exec.LookPath
	}
	n.Limits = n.Limits.withDefaults()
	return &Module{needs: n, store: store{n.DB}, storage: chunks{n.DB}, scratch: scratch{n.Scratch}, segment: segmentSeconds}
}

const (
	// exchange is where the module says what happens to recordings; ready is the
	// type and routing key of the message that one is there, whose body is a
	// mediapb.MediaReady.
	exchange = "media"
	ready    = "media.ready"
	// talksExchange is the talks module's; withdrawn is the routing key of the
	// message that a talk was withdrawn.
	talksExchange  = "talks"
	withdrawn      = "talk.withdrawn"
	withdrawnQueue = "media.talk-withdrawn"
	// accountsExchange is the accounts module's.
	accountsExchange = "accounts"
	closedQueue      = "media.account-closed"
)

// recordingsAtOnce is how many recordings a process works on at a time. An account
// has one of them at most (the operations module sees to that), so the twelve-hour
// recording of one account does not delay that of another. ffmpeg runs with two
// threads for each, at a low priority.
const recordingsAtOnce = 2

func (m *Module) recordingWorker() work.Worker {
	return work.Worker{
		Kind: kind, Queue: "media.recording", Concurrency: recordingsAtOnce,
		Operations: m.needs.Operations, Do: m.makeRecording, Log: m.needs.Log,
	}
}

// kind is the kind of operation that makes a recording.
const kind = "recording"

// Topology is what the module publishes to and consumes.
func Topology() []queue.Topology {
	return []queue.Topology{
		(&Module{}).recordingWorker().Topology(),
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

// Consumers is who works the module's queues.
func (m *Module) Consumers() []queue.Consumer {
	return []queue.Consumer{
		m.recordingWorker().Consumer(),
		{Queue: withdrawnQueue, Concurrency: 1, Handle: queue.Idempotent(m.talkWithdrawn)},
		{Queue: closedQueue, Concurrency: 1, Handle: queue.Idempotent(m.accountClosed)},
	}
}

// Register adds the module's service to a server.
func (m *Module) Register(r grpc.ServiceRegistrar) {
	mediapb.RegisterMediaServer(r, service{module: m})
}

// Run removes what has expired, and what killed processes left in the scratch
// folder, until ctx ends.
func (m *Module) Run(ctx context.Context) error {
	m.tidy()
	return m.sweep(ctx)
}
