package queue

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	queuepb "techtalks.example/proto/techtalks/queue/v1"
)

const (
	// maxGroups bounds the groups of consumers: more are no drawing any more.
	maxGroups = 8
	// maxHosts bounds the hosts that a group names.
	maxHosts = 4
)

// topology is a part of a snapshot, in the order it is drawn in.
type topology struct {
	producers []string
	publishes map[string][]string // exchanges, by producer
	exchanges []*queuepb.Exchange
	bindings  []*queuepb.Binding
	queues    []*queuepb.Queue
}

// somebody publishes to the test exchanges: whoever looks.
const somebody = "you"

// part returns what is, or is not, for test messages. Exchanges and queues are
// ordered so that bindings cross little: each next to what it is bound to.
func part(s *queuepb.Snapshot, test bool) topology {
	t := topology{publishes: map[string][]string{}}
	here := map[string]bool{}
	for _, e := range s.Exchanges {
		if e.Test == test {
			t.exchanges = append(t.exchanges, e)
			here["exchange "+e.Name] = true
		}
	}
	for _, q := range s.Queues {
		if q.Test == test {
			t.queues = append(t.queues, q)
			here["queue "+q.Name] = true
		}
	}
	for _, b := range s.Bindings {
		if here["exchange "+b.Exchange] && here["queue "+b.Queue] {
			t.bindings = append(t.bindings, b)
		}
	}
	t.order()
	for _, e := range t.exchanges {
		by := e.Producers
		if test && len(by) == 0 {
			by = []string{somebody}
		}
		for _, producer := range by {
			if t.publishes[producer] == nil {
				t.producers = append(t.producers, producer)
			}
			t.publishes[producer] = append(t.publishes[producer], e.Name)
		}
	}
	return t
}

// order puts exchanges and queues next to what they are bound to, twice: after
// that it hardly gets better.
func (t *topology) order() {
	byName := func(a, b *queuepb.Exchange) int { return strings.Compare(a.Name, b.Name) }
	slices.SortStableFunc(t.exchanges, byName)
	slices.SortStableFunc(t.queues, func(a, b *queuepb.Queue) int { return strings.Compare(a.Name, b.Name) })
	for range 2 {
		exchangeAt := map[string]int{}
		for i, e := range t.exchanges {
			exchangeAt[e.Name] = i
		}
		near := map[string]float64{}
		for _, q := range t.queues {
			var at []int
			for _, b := range t.into(q) {
				at = append(at, exchangeAt[b.Exchange])
			}
			near[q.Name] = mean(at)
		}
		slices.SortStableFunc(t.queues, func(a, b *queuepb.Queue) int { return cmp.Compare(near[a.Name], near[b.Name]) })
		queueAt := map[string]int{}
		for i, q := range t.queues {
			queueAt[q.Name] = i
		}
		clear(near)
		for _, e := range t.exchanges {
			var at []int
			for _, b := range t.bindings {
				if b.Exchange == e.Name {
					at = append(at, queueAt[b.Queue])
				}
			}
			near[e.Name] = mean(at)
		}
		slices.SortStableFunc(t.exchanges, func(a, b *queuepb.Exchange) int { return cmp.Compare(near[a.Name], near[b.Name]) })
	}
	exchangeAt := map[string]int{}
	for i, e := range t.exchanges {
		exchangeAt[e.Name] = i
	}
	slices.SortStableFunc(t.bindings, func(a, b *queuepb.Binding) int {
		return cmp.Or(cmp.Compare(exchangeAt[a.Exchange], exchangeAt[b.Exchange]), strings.Compare(a.Pattern, b.Pattern))
	})
}

// into returns the bindings that lead to a queue.
func (t *topology) into(q *queuepb.Queue) (into []*queuepb.Binding) {
	for _, b := range t.bindings {
		if b.Queue == q.Name {
			into = append(into, b)
		}
	}
	return into
}

// consumers are processes that consume the same queues.
type consumers struct {
	queues []string
	hosts  map[string]string // by process
	lines  []string
}

// group returns the processes that consume queues, those of the same queues
// together, as one node with the lines that name it.
func group(queues []*queuepb.Queue) []consumers {
	of, hosts := map[string][]string{}, map[string]string{}
	for _, q := range queues {
		for _, c := range q.Consumers {
			of[c.Process] = append(of[c.Process], q.Name)
			hosts[c.Process] = c.Host
		}
	}
	var groups []consumers
	at := map[string]int{}
	for _, process := range slices.Sorted(maps.Keys(of)) {
		key := strings.Join(of[process], "\n")
		i, known := at[key]
		if !known {
			if len(groups) == maxGroups { // with the last one, then
				i = maxGroups - 1
				for _, name := range of[process] {
					if !slices.Contains(groups[i].queues, name) {
						groups[i].queues = append(groups[i].queues, name)
					}
				}
			} else {
				i = len(groups)
				groups = append(groups, consumers{queues: of[process], hosts: map[string]string{}})
			}
			at[key] = i
		}
		groups[i].hosts[process] = hosts[process]
	}
	order := map[string]int{}
	for i, q := range queues {
		order[q.Name] = i
	}
	middle := func(g consumers) float64 {
		var all []int
		for _, name := range g.queues {
			all = append(all, order[name])
		}
		return mean(all)
	}
	slices.SortStableFunc(groups, func(a, b consumers) int { return cmp.Compare(middle(a), middle(b)) })
	for i := range groups {
		groups[i].lines = groupLines(groups[i].hosts)
	}
	return groups
}

// groupLines names a process by its host and what tells it from others there;
// several by how many there are on which hosts.
func groupLines(hosts map[string]string) (lines []string) {
	if len(hosts) == 1 {
		for process, host := range hosts {
			return []string{host, cmp.Or(strings.TrimPrefix(process, host+"-"), process)}
		}
	}
	count := map[string]int{}
	for _, host := range hosts {
		count[host]++
	}
	lines = append(lines, fmt.Sprintf("%d processes", len(hosts)))
	for i, host := range slices.Sorted(maps.Keys(count)) {
		switch {
		case i == maxHosts:
			return append(lines, fmt.Sprintf("and on %d more", len(count)-maxHosts))
		case count[host] > 1:
			lines = append(lines, fmt.Sprintf("%s ×%d", clip(host, maxHost-4), count[host]))
		default:
			lines = append(lines, host)
		}
	}
	return lines
}

// mean is where what has nothing to be near to goes last.
func mean(all []int) float64 {
	if len(all) == 0 {
		return math.MaxInt16
	}
	sum := 0
	for _, n := range all {
		sum += n
	}
	return float64(sum) / float64(len(all))
}

// asks is what a binding asks of a message.
func asks(b *queuepb.Binding, kind string) string {
	if kind == "fanout" {
		return "every message"
	}
	return b.Pattern
}

func (t *topology) patterns() (all []string) {
	for _, b := range t.bindings {
		kind := ""
		for _, e := range t.exchanges {
			if e.Name == b.Exchange {
				kind = e.Type
			}
		}
		all = append(all, asks(b, kind))
	}
	return all
}
