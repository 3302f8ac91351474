package drills

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"techtalks.example/deployments/certificates"
	"techtalks.example/deployments/drills/lab"
)

// All is every drill.
var All = []Drill{
	{Name: "web-tier-killed", Question: "What if a web tier is killed?", Shape: two, Do: func(ctx context.Context, r *Run) error {
		return r.killed(ctx, r.Web[0])
	}},
	{Name: "logic-tier-killed", Question: "What if a logic tier is killed?", Shape: two, Do: func(ctx context.Context, r *Run) error {
		return r.killed(ctx, r.Logic[0])
	}},
	{Name: "worker-killed", Question: "What if a worker is killed?", Shape: two, Do: func(ctx context.Context, r *Run) error {
		return r.killed(ctx, r.Workers[0])
	}},
	{Name: "data-tier-killed", Question: "What if the data tier's host loses power?", Shape: two, Do: func(ctx context.Context, r *Run) error {
		return r.killed(ctx, r.Data)
	}},
	{Name: "data-tier-away", Question: "What if Postgres is away for 30 seconds?", Shape: two, Do: func(ctx context.Context, r *Run) error {
		r.Did("the data tier is stopped")
		if err := r.Data.Stop(); err != nil {
			return err
		}
		pause(ctx, r.long(30*time.Second))
		if err := r.startHealthy(ctx, r.Data); err != nil {
			return err
		}
		r.Healed("it is back")
		return nil
	}},
	{Name: "standby-takes-over", Unnoticed: true, Question: "What if the data tier's host is replaced by its standby?", Shape: Shape{Web: 2, Logic: 2, Workers: 1, Standby: true}, Do: func(ctx context.Context, r *Run) error {
		// Stopped, it sends all that it has; one that is killed may keep its last
		// commits to itself, since nobody waits for the standby.
		began := time.Now()
		if err := r.Data.Stop(); err != nil {
			return err
		}
		r.Did("the data tier is stopped")
		said, err := r.promote(ctx)
		if err != nil {
			return err
		}
		r.dataAway = time.Since(began)
		r.Healed("%s", said)
		if err := r.more(ctx, before); err != nil {
			return err
		}
		r.Data.Set("STANDBY_OF=standby:5432")
		if err := r.startHealthy(ctx, r.Data); err != nil {
			return err
		}
		r.Did("the host from before follows it")
		return nil
	}, Holds: func(r *Run) error {
		for _, f := range r.followers {
			if !f.wasReset() {
				return fmt.Errorf("%s was not told that the database is another", f.name)
			}
		}
		return r.nobodyNoticed()
	}},
	{Name: "broker-away", Question: "What if the message broker is away for 30 seconds?", Shape: Shape{Web: 2, Logic: 2, Workers: 1, Broker: true}, Do: func(ctx context.Context, r *Run) error {
		if err := r.Broker.Host.Crash(); err != nil {
			return err
		}
		r.Did("RabbitMQ's host loses power")
		// What waits is in the outbox: publishing goes on.
		if err := r.published(ctx, before); err != nil {
			return err
		}
		pause(ctx, r.long(30*time.Second))
		for _, p := range r.Broker.Host.Processes() {
			if err := p.Start(); err != nil {
				return err
			}
		}
		if err := r.brokerAnswers(ctx); err != nil {
			return err
		}
		r.Healed("it is back")
		return nil
	}},
	{Name: "web-logic-cut", Question: "What if the network between web and logic tier is cut?", Shape: two, Do: func(ctx context.Context, r *Run) error {
		return r.cut(ctx, r.Web[0].Host, r.Logic, both)
	}},
	{Name: "logic-data-cut", Question: "What if the network between logic and data tier is cut?", Shape: two, Do: func(ctx context.Context, r *Run) error {
		return r.cut(ctx, r.Data.Host, r.Logic, both)
	}},
	{Name: "logic-data-one-way", Question: "What if what the data tier says does not arrive, and what it is told does?", Shape: two, Do: func(ctx context.Context, r *Run) error {
		return r.cut(ctx, r.Data.Host, r.Logic, from)
	}},
	{Name: "slow-network", Question: "What if each packet between the tiers takes 100 ms, and one in a hundred is lost?", Shape: two, Do: func(ctx context.Context, r *Run) error {
		slow := lab.Cable{Delay: 50 * time.Millisecond, Loss: .01} // in each direction
		for _, logic := range r.Logic {
			for _, web := range r.Web {
				r.Between(web.Host.Name, logic.Host.Name, slow)
			}
		}
		r.Did("the network between web and logic tiers is slow and loses packets")
		if err := r.more(ctx, 20); err != nil {
			return err
		}
		r.Mend()
		r.Healed("it is mended")
		return nil
	}},
	{Name: "rolling-restart", Unnoticed: true, Question: "What if every process is replaced, one after the other, under load?", Shape: two, Do: func(ctx context.Context, r *Run) error {
		for _, p := range r.tiers() {
			began := time.Now()
			if err := p.Stop(); err != nil {
				return err
			}
			if err := r.startHealthy(ctx, p); err != nil {
				return err
			}
			if p == r.Data {
				r.dataAway = time.Since(began)
			}
			r.Did("%s on %s is another process", p.Name, p.Host.Name)
			if err := r.more(ctx, 3); err != nil {
				return err
			}
		}
		return nil
	}, Holds: func(r *Run) error { return r.nobodyNoticed() }},
	{Name: "everything-at-once", Question: "What if everything restarts at once?", Shape: two, Do: func(ctx context.Context, r *Run) error {
		all := r.tiers()
		for _, p := range all {
			if err := p.Host.Crash(); err != nil {
				return err
			}
		}
		r.Did("all %d processes are killed", len(all))
		for _, p := range all {
			if err := p.Start(); err != nil {
				return err
			}
		}
		for _, p := range all {
			if err := r.Healthy(ctx, p); err != nil {
				return err
			}
		}
		r.Healed("all are back")
		return nil
	}},
	{Name: "client-leaves", Question: "What if clients leave in the middle of a request, an upload, a stream?", Shape: two, Do: func(ctx context.Context, r *Run) error {
		left := r.impatient(ctx, 8*time.Second)
		r.Did("clients left %d times before they had their answer", left)
		return nil
	}, Holds: func(r *Run) error { return r.quiet() }},
	{Name: "slow-reader", Question: "What if a browser does not read what it is sent?", Shape: two, Do: func(ctx context.Context, r *Run) error {
		size, err := r.dawdle(ctx, r.followers[0], 10*time.Second)
		r.Did("a stream was not read for 10 s; then %d bytes were, until it %s", size, map[bool]string{true: "had been ended", false: "was silent"}[err == nil])
		return nil
	}},
	{Name: "disk-full", Question: "What if the data tier's disk is full?", Shape: Shape{Web: 2, Logic: 2, Workers: 1, Disk: 500}, Do: func(ctx context.Context, r *Run) error {
		if err := r.fillDisk(); err != nil {
			return err
		}
		r.Did("the disk is full")
		pause(ctx, 10*time.Second)
		if err := r.emptyDisk(); err != nil {
			return err
		}
		// As whatever supervises it does: compose, systemd, make up.
		if !r.Data.Running() {
			r.Did("the data tier has ended: %s", r.Data.End(1))
			if err := r.Data.Start(); err != nil {
				return err
			}
		}
		if err := r.Healthy(ctx, r.Data); err != nil {
			return err
		}
		r.Healed("there is room again")
		return nil
	}},
	{Name: "clock-jumps", Question: "What if the data tier's clock jumps an hour ahead, and back?", Shape: Shape{Web: 2, Logic: 2, Workers: 1, Clock: true}, Do: func(ctx context.Context, r *Run) error {
		// Not further back than certificates were made: they would not be valid yet.
		for _, ahead := range []time.Duration{time.Hour, 0, -4 * time.Minute, 0} {
			if err := r.setClock(ahead); err != nil {
				return err
			}
			if err := r.awaitClock(ctx, ahead); err != nil {
				return err
			}
			r.Did("it is %s ahead of the true time", ahead)
			if err := r.more(ctx, before); err != nil {
				return err
			}
		}
		return nil
	}},
	{Name: "certificates-end", Question: "What if certificates end before they are replaced?", Shape: two, Do: func(ctx context.Context, r *Run) error {
		if err := r.reissue(6 * time.Second); err != nil {
			return err
		}
		r.Did("every certificate is replaced by one that ends in 6 s")
		pause(ctx, 8*time.Second)
		web := r.Web[0]
		if err := web.Stop(); err != nil {
			return err
		}
		if err := web.Start(); err != nil {
			return err
		}
		r.Did("they have ended, and %s is a new process, with no connection from before", web.Host.Name)
		pause(ctx, 5*time.Second)
		if err := r.reissue(0); err != nil {
			return err
		}
		if err := r.Healthy(ctx, web); err != nil {
			return err
		}
		r.Healed("they are replaced, and nothing was restarted for it")
		return nil
	}},
	{Name: "connections-used-up", Question: "What if every connection of a module to the database waits for a lock?", Shape: two, Do: func(ctx context.Context, r *Run) error {
		if _, err := r.SQL(ctx, "begin; lock table talks.talk in access exclusive mode; select pg_sleep(12); commit"); err != nil {
			return err
		}
		r.Did("the talks were locked for 12 s")
		r.Healed("the lock is gone")
		return nil
	}},
	{Name: "poison-message", Question: "What if a message can never be worked?", Shape: two, Do: func(ctx context.Context, r *Run) error {
		for range 20 {
			if _, err := r.Talksctl(ctx, "queue", "send", "test.direct", "--key", "blue", "--reject"); err != nil {
				return err
			}
		}
		r.Did("20 messages were sent that no consumer takes")
		waiting, done := context.WithTimeout(ctx, patience)
		defer done()
		for {
			letters, err := r.SQL(waiting, "select count(*) from queue.dead_letter")
			if err != nil {
				return err
			}
			if letters == "20" {
				break
			}
			pause(waiting, 50*time.Millisecond)
		}
		r.Did("all 20 are dead letters")
		_, err := r.Talksctl(ctx, "queue", "discard", "test.blue", "--all")
		return err
	}},
	{Name: "overload", Question: "What if many times as many come as can be served?", Shape: Shape{Web: 1, Logic: 1, Workers: 1}, Do: func(ctx context.Context, r *Run) error {
		long := r.long(time.Minute)
		answered, away := r.hammer(ctx, 300, long)
		r.Did("300 asked without pause for %s: %d were answered, %d told when to come back", long, answered, away)
		r.Healed("they are gone")
		return nil
	}},
}

// two is two of each tier that can be several, and a worker.
var two = Shape{Web: 2, Logic: 2, Workers: 1}

// nobodyNoticed says which requests were not answered as on any day. A piece of an
// upload that is under way when the data tier stops is broken off, and goes on from what
// was kept: for that its protocol is there. When the data tier was away for longer than
// calls are made again, it is promised no more than ever.
func (r *Run) nobodyNoticed() error {
	if r.dataAway > waitedOut {
		r.Did("the data tier was away for %d ms, which is longer than is waited for: some noticed", r.dataAway.Milliseconds())
		return nil
	}
	r.account.mu.Lock()
	defer r.account.mu.Unlock()
	failed := maps.Clone(r.account.sentAway)
	maps.DeleteFunc(failed, func(what string, _ int) bool { return strings.HasPrefix(what, "PATCH /uploads/") })
	if sum(failed)+r.account.unanswered+r.account.stale > 0 {
		return fmt.Errorf("%d requests found no web tier, %d got a page as it had been, and others were sent away: %v", r.account.unanswered, r.account.stale, failed)
	}
	return nil
}

// waitedOut is how long the data tier may be away without anybody noticing: a little less
// than a call is made again (proto/transport).
const waitedOut = 1500 * time.Millisecond

// killed kills a process, lets it be away for a while, and starts it again.
func (r *Run) killed(ctx context.Context, p *lab.Process) error {
	if err := p.Host.Crash(); err != nil {
		return err
	}
	r.Did("%s on %s is killed", p.Name, p.Host.Name)
	pause(ctx, 3*time.Second)
	if err := r.startHealthy(ctx, p); err != nil {
		return err
	}
	r.Healed("it is back")
	return nil
}

const (
	both = iota
	from // what the host says, and not what it is told
)

// cut cuts a host off from processes, for longer than it takes to be noticed.
func (r *Run) cut(ctx context.Context, host *lab.Host, off []*lab.Process, direction int) error {
	for _, p := range off {
		r.Set(host.Name, p.Host.Name, lab.Cable{Cut: true})
		if direction == both {
			r.Set(p.Host.Name, host.Name, lab.Cable{Cut: true})
		}
	}
	r.Did("%s is cut off", host.Name)
	pause(ctx, 15*time.Second)
	r.Mend()
	r.Healed("the network is mended")
	return nil
}

// reissue makes every program's certificate anew, to end after life; 0 is as long as ever.
func (r *Run) reissue(life time.Duration) error {
	if life == 0 {
		if _, err := certificates.Issue(r.authority(), hostNames); err != nil {
			return err
		}
	} else {
		for _, program := range []string{"web-tier", "logic-tier", "data-tier"} {
			if err := os.Remove(filepath.Join(r.authority(), program+".crt")); err != nil {
				return err
			}
		}
		if _, err := certificates.IssueFor(life, r.authority(), hostNames); err != nil {
			return err
		}
	}
	for host := range r.of {
		if err := r.deliver(host); err != nil {
			return err
		}
	}
	return nil
}

// quiet says what is still under way in the tiers when nobody asks for anything but
// the streams that are open.
func (r *Run) quiet() error {
	for _, p := range slices.Concat(r.Web, r.Logic) {
		admin, metric := "127.0.0.1:8081", "web_requests_under_way"
		if p.Name == "logic-tier" {
			admin, metric = "127.0.0.1:9091", "server_under_way"
		}
		output, err := p.Host.Command(context.Background(), nil, "curl", "-sS", "-m", "5", "http://"+admin+"/metrics").Output()
		if err != nil {
			return fmt.Errorf("metrics of %s: %w", p.Host.Name, err)
		}
		if !strings.Contains(string(output), "\n"+metric+" 0\n") {
			return fmt.Errorf("on %s something is still under way: %s is not 0", p.Host.Name, metric)
		}
	}
	return nil
}
