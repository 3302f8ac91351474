package queuetest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"techtalks.example/logic-tier/platform/postgres"
	"techtalks.example/logic-tier/platform/queue"
)

// A process that the suite starts to be killed in the middle of something finds
// out by these what it is to do, and where.
const (
	deathSetting = "QUEUETEST_DEATH"
	whereSetting = "QUEUETEST_WHERE"
)

// Process is a process's own way to a place.
type Process struct {
	Module *postgres.DB
	Engine queue.Broker
}

// Main is a package's TestMain: it runs tests, or, in a process that a test
// started to die, does what that is to die of. find finds the place again by its
// Where.
func Main(tests func(), find func(where string) (Process, error)) {
	death := deaths[os.Getenv(deathSetting)]
	if death == nil {
		tests()
		return
	}
	p, err := find(os.Getenv(whereSetting))
	if err == nil {
		err = death(context.Background(), p)
	}
	fmt.Fprintln(os.Stderr, "it lives:", err)
	os.Exit(1)
}

// deaths are what processes die of.
var deaths = map[string]func(context.Context, Process) error{
	"between commit and shipping": func(ctx context.Context, p Process) error {
		if err := p.Engine.Declare(ctx, one(0)); err != nil {
			return err
		}
		err := p.Module.InTransaction(ctx, func(tx *postgres.Tx) error {
			for i := range 3 {
				if _, err := p.Engine.Publish(ctx, tx, queue.Message{Exchange: "work", Type: "test", Body: wrapperspb.String(fmt.Sprint(i))}); err != nil {
					return err
				}
			}
			return nil
		})
		die() // Run, which ships and wakes, never began
		return err
	},
	"between effect and acknowledgement": func(ctx context.Context, p Process) error {
		go func() { _ = p.Engine.Run(ctx) }()
		if err := p.Engine.Declare(ctx, one(0)); err != nil {
			return err
		}
		return p.Engine.Consume(ctx, queue.Consumer{Queue: "work", Concurrency: 1, Lease: time.Second, Handle: affect(p.Module, func(queue.Delivery) { die() })})
	},
}

// die ends the process as kill -9 does.
func die() { _ = syscall.Kill(os.Getpid(), syscall.SIGKILL) }

// affect returns a handler with an effect that is to be there once; afterwards is
// called when it is there, and before the message is acknowledged.
func affect(module *postgres.DB, afterwards func(queue.Delivery)) queue.Handler {
	return queue.Idempotent(func(ctx context.Context, d queue.Delivery, _ *wrapperspb.StringValue) error {
		err := module.InTransaction(ctx, func(tx *postgres.Tx) error {
			if err := d.Once(ctx, tx); err != nil {
				return err
			}
			_, err := postgres.Exec(ctx, tx, "insert into talks.effect values ($1)", d.ID)
			return err
		})
		if err == nil {
			afterwards(d)
		}
		return err
	})
}

func (s *site) effects() {
	s.t.Helper()
	if _, err := s.Superuser.Exec(`create table talks.effect (id bigint); grant all on talks.effect to talks`); err != nil {
		s.t.Fatal(err)
	}
}

// kill runs a process until it dies.
func (s *site) kill(death string) {
	s.t.Helper()
	ctx, done := context.WithTimeout(s.t.Context(), patience)
	defer done()
	command := exec.CommandContext(ctx, os.Args[0])
	command.Env = append(os.Environ(), deathSetting+"="+death, whereSetting+"="+s.Where)
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	if err := command.Run(); ctx.Err() != nil || command.ProcessState == nil || !killed(command) {
		s.t.Fatalf("the process did not die as it should: %v, %v\n%s", err, ctx.Err(), output.String())
	}
}

func killed(command *exec.Cmd) bool {
	status, ok := command.ProcessState.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// Who publishes is killed after its commit, before anybody was woken or anything
// shipped.
func killedPublisher(t *testing.T, place *Place) {
	s := newSite(t, place, one(0))
	var got notes
	s.consume(s.engine, queue.Consumer{Queue: "work", Concurrency: 1, Handle: got.handle})
	s.kill("between commit and shipping")
	s.publish(toWork, "last")
	s.until("the last message", got.holds("last"))
	s.until("all messages", got.has(4))
	if len(got.all()) != 4 {
		t.Errorf("%d deliveries of four messages: %v", len(got.all()), got.texts())
	}
}

// Who consumes is killed when the effect is there and the acknowledgement is not.
func killedConsumer(t *testing.T, place *Place) {
	s := newSite(t, place, one(0))
	s.effects()
	s.publish(toWork, "one", "two")
	s.kill("between effect and acknowledgement")
	if n := s.count("select count(*) from talks.effect"); n != 1 {
		t.Fatalf("%d effects before its death", n)
	}
	var again notes
	s.consume(s.engine, queue.Consumer{Queue: "work", Handle: func(ctx context.Context, d queue.Delivery) error {
		again.add(d)
		return affect(s.Module, func(queue.Delivery) {})(ctx, d)
	}})
	s.until("both messages again", again.has(2))
	s.untilDepth("work", "the acknowledgements", empty)
	if n := s.count("select count(*) from talks.effect"); n != 2 {
		t.Errorf("%d effects of two messages", n)
	}
	most := 0
	for _, d := range again.all() {
		most = max(most, d.Count)
	}
	if most != 2 {
		t.Errorf("the message that its consumer died of counts %d deliveries, want 2", most)
	}
}
