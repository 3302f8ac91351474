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

// Environment variables of a process that a test starts and that kills itself.
const (
	crashVariable   = "QUEUETEST_DEATH" // a key of crashes
	addressVariable = "QUEUETEST_WHERE" // an Env.Address
)

// Process is another process's access to an environment.
type Process struct {
	Module *postgres.DB
	Engine queue.Broker
}

// Main is the TestMain of an engine's package. It runs the tests or, in a process that
// a test started, the requested crash. connect connects to the environment with an
// address.
func Main(tests func(), connect func(address string) (Process, error)) {
	crash := crashes[os.Getenv(crashVariable)]
	if crash == nil {
		tests()
		return
	}
	p, err := connect(os.Getenv(addressVariable))
	if err == nil {
		err = crash(context.Background(), p)
	}
	fmt.Fprintln(os.Stderr, "process did not crash:", err)
	os.Exit(1)
}

// crashes are the points at which a process kills itself.
var crashes = map[string]func(context.Context, Process) error{
	"between commit and shipping": func(ctx context.Context, p Process) error {
		if err := p.Engine.Declare(ctx, workTopology(0)); err != nil {
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
		killSelf() // before Run, which ships and notifies
		return err
	},
	"between effect and acknowledgement": func(ctx context.Context, p Process) error {
		go func() { _ = p.Engine.Run(ctx) }()
		if err := p.Engine.Declare(ctx, workTopology(0)); err != nil {
			return err
		}
		return p.Engine.Consume(ctx, queue.Consumer{Queue: "work", Concurrency: 1, Lease: time.Second, Handle: effectHandler(p.Module, func(queue.Delivery) { killSelf() })})
	},
}

// killSelf ends the process like kill -9.
func killSelf() { _ = syscall.Kill(os.Getpid(), syscall.SIGKILL) }

// effectHandler returns an idempotent handler that inserts a row. It calls afterCommit
// before the message is acknowledged.
func effectHandler(module *postgres.DB, afterCommit func(queue.Delivery)) queue.Handler {
	return queue.Idempotent(func(ctx context.Context, d queue.Delivery, _ *wrapperspb.StringValue) error {
		err := module.InTransaction(ctx, func(tx *postgres.Tx) error {
			if err := d.Once(ctx, tx); err != nil {
				return err
			}
			_, err := postgres.Exec(ctx, tx, "insert into talks.effect values ($1)", d.ID)
			return err
		})
		if err == nil {
			afterCommit(d)
		}
		return err
	})
}

func (f *fixture) createEffectTable() {
	f.t.Helper()
	if _, err := f.Superuser.Exec(`create table talks.effect (id bigint); grant all on talks.effect to talks`); err != nil {
		f.t.Fatal(err)
	}
}

// crash runs a process that kills itself at a key of crashes.
func (f *fixture) crash(point string) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	defer cancel()
	command := exec.CommandContext(ctx, os.Args[0])
	command.Env = append(os.Environ(), crashVariable+"="+point, addressVariable+"="+f.Address)
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	if err := command.Run(); ctx.Err() != nil || command.ProcessState == nil || !killed(command) {
		f.t.Fatalf("process was not killed: %v, %v\n%s", err, ctx.Err(), output.String())
	}
}

func killed(command *exec.Cmd) bool {
	status, ok := command.ProcessState.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// testPublisherKilled kills a publisher after its commit, before it notifies consumers
// or ships the outbox.
func testPublisherKilled(t *testing.T, env *Env) {
	f := newFixture(t, env, workTopology(0))
	var got received
	f.consume(f.engine, queue.Consumer{Queue: "work", Concurrency: 1, Handle: got.handle})
	f.crash("between commit and shipping")
	f.publish(workMessage, "last")
	f.until("the last message", got.contains("last"))
	f.until("all messages", got.atLeast(4))
	if len(got.all()) != 4 {
		t.Errorf("got %d deliveries of four messages: %v", len(got.all()), got.texts())
	}
}

// testConsumerKilled kills a consumer after its effect has committed, before it
// acknowledges.
func testConsumerKilled(t *testing.T, env *Env) {
	f := newFixture(t, env, workTopology(0))
	f.createEffectTable()
	f.publish(workMessage, "one", "two")
	f.crash("between effect and acknowledgement")
	if n := f.count("select count(*) from talks.effect"); n != 1 {
		t.Fatalf("got %d effects before the crash, want 1", n)
	}
	var again received
	f.consume(f.engine, queue.Consumer{Queue: "work", Handle: func(ctx context.Context, d queue.Delivery) error {
		again.add(d)
		return effectHandler(f.Module, func(queue.Delivery) {})(ctx, d)
	}})
	f.until("both messages again", again.atLeast(2))
	f.untilDepth("work", "the acknowledgements", empty)
	if n := f.count("select count(*) from talks.effect"); n != 2 {
		t.Errorf("got %d effects of two messages, want 2", n)
	}
	maxCount := 0
	for _, d := range again.all() {
		maxCount = max(maxCount, d.Count)
	}
	if maxCount != 2 {
		t.Errorf("message of the killed consumer: got %d deliveries, want 2", maxCount)
	}
}
