package drills

import (
	"context"
	"fmt"
	"time"

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
		pause(ctx, 30*time.Second)
		if err := r.Data.Start(); err != nil {
			return err
		}
		if err := r.Healthy(ctx, r.Data); err != nil {
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
	{Name: "rolling-restart", Question: "What if every process is replaced, one after the other, under load?", Shape: two, Do: func(ctx context.Context, r *Run) error {
		for _, p := range append(append(append([]*lab.Process{}, r.Logic...), r.Workers...), r.Web...) {
			if err := p.Stop(); err != nil {
				return err
			}
			if err := p.Start(); err != nil {
				return err
			}
			if err := r.Healthy(ctx, p); err != nil {
				return err
			}
			r.Did("%s on %s is another process", p.Name, p.Host.Name)
			if err := r.more(ctx, 3); err != nil {
				return err
			}
		}
		return nil
	}, Holds: func(r *Run) error {
		r.account.mu.Lock()
		defer r.account.mu.Unlock()
		if r.account.sentAway+r.account.unanswered > 0 {
			return fmt.Errorf("%d requests failed", r.account.sentAway+r.account.unanswered)
		}
		return nil
	}},
	{Name: "everything-at-once", Question: "What if everything restarts at once?", Shape: two, Do: func(ctx context.Context, r *Run) error {
		all := append(append(append([]*lab.Process{r.Data}, r.Logic...), r.Workers...), r.Web...)
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
}

// two is two of each tier that can be several, and a worker.
var two = Shape{Web: 2, Logic: 2, Workers: 1}

// killed kills a process, lets it be away for a while, and starts it again.
func (r *Run) killed(ctx context.Context, p *lab.Process) error {
	if err := p.Host.Crash(); err != nil {
		return err
	}
	r.Did("%s on %s is killed", p.Name, p.Host.Name)
	pause(ctx, 3*time.Second)
	if err := p.Start(); err != nil {
		return err
	}
	if err := r.Healthy(ctx, p); err != nil {
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
