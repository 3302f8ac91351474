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

// All is all drills.
var All = []Drill{
	{Name: "web-tier-killed", Question: "What if a web tier is killed?", Shape: replicated, Inject: func(ctx context.Context, r *Run) error {
		return r.kill(ctx, r.Web[0])
	}},
	{Name: "logic-tier-killed", Question: "What if a logic tier is killed?", Shape: replicated, Inject: func(ctx context.Context, r *Run) error {
		return r.kill(ctx, r.Logic[0])
	}},
	{Name: "worker-killed", Question: "What if a worker is killed?", Shape: replicated, Inject: func(ctx context.Context, r *Run) error {
		return r.kill(ctx, r.Workers[0])
	}},
	{Name: "data-tier-killed", Question: "What if the data tier's host loses power?", Shape: replicated, Inject: func(ctx context.Context, r *Run) error {
		return r.kill(ctx, r.Data)
	}},
	{Name: "data-tier-stopped", Question: "What if Postgres is down for 30 seconds?", Shape: replicated, Inject: func(ctx context.Context, r *Run) error {
		r.Log("the data tier is stopped")
		if err := r.Data.Stop(); err != nil {
			return err
		}
		pause(ctx, r.shorten(30*time.Second))
		if err := r.startHealthy(ctx, r.Data); err != nil {
			return err
		}
		r.Recovered("the data tier is healthy again")
		return nil
	}},
	{Name: "standby-takes-over", Seamless: true, Question: "What if the data tier's host is replaced by its standby?", Shape: Shape{Web: 2, Logic: 2, Workers: 1, Standby: true}, Inject: func(ctx context.Context, r *Run) error {
		// A clean stop sends all WAL to the standby. A killed primary can lose its last
		// commits, since replication is asynchronous.
		began := time.Now()
		if err := r.Data.Stop(); err != nil {
			return err
		}
		r.Log("the data tier is stopped")
		output, err := r.promote(ctx)
		if err != nil {
			return err
		}
		r.dataDowntime = time.Since(began)
		r.Recovered("%s", output)
		if err := r.awaitMore(ctx, phaseTalks); err != nil {
			return err
		}
		r.Data.SetEnv("STANDBY_OF=standby:5432")
		if err := r.startHealthy(ctx, r.Data); err != nil {
			return err
		}
		r.Log("the previous primary follows the new one")
		return nil
	}, Check: func(r *Run) error {
		for _, f := range r.followers {
			if !f.wasReset() {
				return fmt.Errorf("%s received no reset after the failover", f.name)
			}
		}
		return r.checkSeamless()
	}},
	{Name: "broker-stopped", Question: "What if the message broker is down for 30 seconds?", Shape: Shape{Web: 2, Logic: 2, Workers: 1, Broker: true}, Inject: func(ctx context.Context, r *Run) error {
		if err := r.Broker.Host.Crash(); err != nil {
			return err
		}
		r.Log("RabbitMQ's host loses power")
		// Publishing continues into the outbox.
		if err := r.awaitPublished(ctx, phaseTalks); err != nil {
			return err
		}
		pause(ctx, r.shorten(30*time.Second))
		for _, p := range r.Broker.Host.Processes() {
			if err := p.Start(); err != nil {
				return err
			}
		}
		if err := r.awaitBroker(ctx); err != nil {
			return err
		}
		r.Recovered("RabbitMQ is running again")
		return nil
	}},
	{Name: "web-logic-cut", Question: "What if the network between web and logic tier is cut?", Shape: replicated, Inject: func(ctx context.Context, r *Run) error {
		return r.cut(ctx, r.Web[0].Host, r.Logic, bothDirections)
	}},
	{Name: "logic-data-cut", Question: "What if the network between logic and data tier is cut?", Shape: replicated, Inject: func(ctx context.Context, r *Run) error {
		return r.cut(ctx, r.Data.Host, r.Logic, bothDirections)
	}},
	{Name: "logic-data-one-way", Question: "What if packets from the data tier are dropped, and packets to it arrive?", Shape: replicated, Inject: func(ctx context.Context, r *Run) error {
		return r.cut(ctx, r.Data.Host, r.Logic, outbound)
	}},
	{Name: "slow-network", Question: "What if the round trip between the tiers takes 100 ms, and 1 % of the packets are lost?", Shape: replicated, Inject: func(ctx context.Context, r *Run) error {
		slow := lab.Link{Delay: 50 * time.Millisecond, Loss: .01} // in each direction
		for _, logic := range r.Logic {
			for _, web := range r.Web {
				r.SetLinks(web.Host.Name, logic.Host.Name, slow)
			}
		}
		r.Log("slow and lossy network between web and logic tiers")
		if err := r.awaitMore(ctx, 20); err != nil {
			return err
		}
		r.RestoreLinks()
		r.Recovered("the network is normal again")
		return nil
	}},
	{Name: "rolling-restart", Seamless: true, Question: "What if every process is replaced, one after the other, under load?", Shape: replicated, Inject: func(ctx context.Context, r *Run) error {
		for _, p := range r.tiers() {
			began := time.Now()
			if err := p.Stop(); err != nil {
				return err
			}
			if err := r.startHealthy(ctx, p); err != nil {
				return err
			}
			if p == r.Data {
				r.dataDowntime = time.Since(began)
			}
			r.Log("%s on %s is restarted", p.Name, p.Host.Name)
			if err := r.awaitMore(ctx, 3); err != nil {
				return err
			}
		}
		return nil
	}, Check: func(r *Run) error { return r.checkSeamless() }},
	{Name: "everything-at-once", Question: "What if everything restarts at once?", Shape: replicated, Inject: func(ctx context.Context, r *Run) error {
		all := r.tiers()
		for _, p := range all {
			if err := p.Host.Crash(); err != nil {
				return err
			}
		}
		r.Log("all %d processes are killed", len(all))
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
		r.Recovered("all are healthy again")
		return nil
	}},
	{Name: "client-disconnects", Question: "What if clients disconnect in the middle of a request, an upload, a stream?", Shape: replicated, Inject: func(ctx context.Context, r *Run) error {
		cancelled := r.disconnectRepeatedly(ctx, 8*time.Second)
		r.Log("clients cancelled %d requests", cancelled)
		return nil
	}, Check: func(r *Run) error { return r.checkIdle() }},
	{Name: "slow-reader", Question: "What if a browser does not read its stream?", Shape: replicated, Inject: func(ctx context.Context, r *Run) error {
		size, err := r.stallStream(ctx, r.followers[0], 10*time.Second)
		r.Log("a stream was not read for 10 s, then delivered %d bytes; closed by the server: %t", size, err == nil)
		return nil
	}},
	{Name: "disk-full", Question: "What if the data tier's disk is full?", Shape: Shape{Web: 2, Logic: 2, Workers: 1, Disk: 500}, Inject: func(ctx context.Context, r *Run) error {
		if err := r.fillDisk(); err != nil {
			return err
		}
		r.Log("the disk is full")
		pause(ctx, 10*time.Second)
		if err := r.emptyDisk(); err != nil {
			return err
		}
		// Restarted as its supervisor would: compose, systemd or make up.
		if !r.Data.Running() {
			r.Log("the data tier has exited: %s", r.Data.LogTail(1))
			if err := r.Data.Start(); err != nil {
				return err
			}
		}
		if err := r.Healthy(ctx, r.Data); err != nil {
			return err
		}
		r.Recovered("the disk has free space again")
		return nil
	}},
	{Name: "clock-jumps", Question: "What if the data tier's clock jumps an hour ahead, and back?", Shape: Shape{Web: 2, Logic: 2, Workers: 1, Clock: true}, Inject: func(ctx context.Context, r *Run) error {
		// The clock goes back by minutes only: certificates are not valid before they are issued.
		for _, ahead := range []time.Duration{time.Hour, 0, -4 * time.Minute, 0} {
			if err := r.setClock(ahead); err != nil {
				return err
			}
			if err := r.awaitClock(ctx, ahead); err != nil {
				return err
			}
			r.Log("the clock is %s ahead of the true time", ahead)
			if err := r.awaitMore(ctx, phaseTalks); err != nil {
				return err
			}
		}
		return nil
	}},
	{Name: "certificates-expire", Question: "What if certificates expire before they are replaced?", Shape: replicated, Inject: func(ctx context.Context, r *Run) error {
		if err := r.reissueCertificates(6 * time.Second); err != nil {
			return err
		}
		r.Log("all certificates are replaced by ones that expire in 6 s")
		pause(ctx, 8*time.Second)
		web := r.Web[0]
		if err := web.Stop(); err != nil {
			return err
		}
		if err := web.Start(); err != nil {
			return err
		}
		r.Log("the certificates have expired, and the web tier on %s is restarted without connections", web.Host.Name)
		pause(ctx, 5*time.Second)
		if err := r.reissueCertificates(0); err != nil {
			return err
		}
		if err := r.Healthy(ctx, web); err != nil {
			return err
		}
		r.Recovered("the certificates are replaced, without a restart")
		return nil
	}},
	{Name: "connections-exhausted", Question: "What if all database connections of a module wait for a lock?", Shape: replicated, Inject: func(ctx context.Context, r *Run) error {
		if _, err := r.SQL(ctx, "begin; lock table talks.talk in access exclusive mode; select pg_sleep(12); commit"); err != nil {
			return err
		}
		r.Log("table talks.talk was locked for 12 s")
		r.Recovered("the lock is released")
		return nil
	}},
	{Name: "poison-message", Question: "What if a message can never be processed?", Shape: replicated, Inject: func(ctx context.Context, r *Run) error {
		for range 20 {
			if _, err := r.Talksctl(ctx, "queue", "send", "test.direct", "--key", "blue", "--reject"); err != nil {
				return err
			}
		}
		r.Log("20 messages are sent that the consumer rejects")
		waitCtx, done := context.WithTimeout(ctx, waitTimeout)
		defer done()
		for {
			letters, err := r.SQL(waitCtx, "select count(*) from queue.dead_letter")
			if err != nil {
				return err
			}
			if letters == "20" {
				break
			}
			pause(waitCtx, 50*time.Millisecond)
		}
		r.Log("all 20 are dead-lettered")
		_, err := r.Talksctl(ctx, "queue", "discard", "test.blue", "--all")
		return err
	}},
	{Name: "overload", Question: "What if far more requests arrive than can be served?", Shape: Shape{Web: 1, Logic: 1, Workers: 1}, Inject: func(ctx context.Context, r *Run) error {
		duration := r.shorten(time.Minute)
		answered, rejected := r.overload(ctx, 300, duration)
		r.Log("300 clients sent requests without pause for %s: %d answered, %d rejected with Retry-After", duration, answered, rejected)
		r.Recovered("the overload has ended")
		return nil
	}},
}

// replicated is two web tiers, two logic tiers and a worker.
var replicated = Shape{Web: 2, Logic: 2, Workers: 1}

// checkSeamless returns an error unless all requests were answered as without a failure.
// Exempt are requests of uploads, which resume from their offset by protocol. If the data
// tier was down for longer than calls are retried, there is nothing to check.
func (r *Run) checkSeamless() error {
	if r.dataDowntime > retryWindow {
		r.Log("the data tier was down for %d ms, longer than calls are retried: not seamless", r.dataDowntime.Milliseconds())
		return nil
	}
	r.tally.mu.Lock()
	defer r.tally.mu.Unlock()
	rejected := maps.Clone(r.tally.rejected)
	maps.DeleteFunc(rejected, func(request string, _ int) bool { return strings.HasPrefix(request, "PATCH /uploads/") })
	if sum(rejected)+r.tally.unreachable+r.tally.stale > 0 {
		return fmt.Errorf("%d requests found no web tier, %d were served stale, rejected: %v", r.tally.unreachable, r.tally.stale, rejected)
	}
	return nil
}

// retryWindow is the downtime of the data tier that clients must not notice: a little less
// than the time for which calls are retried (proto/transport).
const retryWindow = 1500 * time.Millisecond

// kill crashes a process's host and restarts the process after 3 s.
func (r *Run) kill(ctx context.Context, p *lab.Process) error {
	if err := p.Host.Crash(); err != nil {
		return err
	}
	r.Log("%s on %s is killed", p.Name, p.Host.Name)
	pause(ctx, 3*time.Second)
	if err := r.startHealthy(ctx, p); err != nil {
		return err
	}
	r.Recovered("%s on %s is healthy again", p.Name, p.Host.Name)
	return nil
}

const (
	bothDirections = iota
	outbound       // from the host
)

// cut drops all packets between a host and peers for 15 s, longer than a dead peer takes to be
// detected.
func (r *Run) cut(ctx context.Context, host *lab.Host, peers []*lab.Process, direction int) error {
	for _, p := range peers {
		r.SetLink(host.Name, p.Host.Name, lab.Link{Cut: true})
		if direction == bothDirections {
			r.SetLink(p.Host.Name, host.Name, lab.Link{Cut: true})
		}
	}
	r.Log("%s is cut off", host.Name)
	pause(ctx, 15*time.Second)
	r.RestoreLinks()
	r.Recovered("the network is restored")
	return nil
}

// reissueCertificates replaces the certificates of all programs by ones that are valid for
// life; 0 is the default validity.
func (r *Run) reissueCertificates(life time.Duration) error {
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
	for host := range r.programOf {
		if err := r.deliverCertificate(host); err != nil {
			return err
		}
	}
	return nil
}

// checkIdle returns an error if a web or logic tier has requests in flight, except streams.
func (r *Run) checkIdle() error {
	for _, p := range slices.Concat(r.Web, r.Logic) {
		admin, metric := "127.0.0.1:8081", "web_requests_under_way"
		if p.Name == "logic-tier" {
			admin, metric = "127.0.0.1:9091", "server_under_way"
		}
		output, err := p.Host.Command(context.Background(), nil, "curl", "-sS", "-m", "5", "http://"+admin+"/metrics").Output()
		if err != nil {
			return fmt.Errorf("read the metrics of %s: %w", p.Host.Name, err)
		}
		if !strings.Contains(string(output), "\n"+metric+" 0\n") {
			return fmt.Errorf("%s has requests in flight: %s is not 0", p.Host.Name, metric)
		}
	}
	return nil
}
