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
	// maxGroups limits the groups of consumers to what a drawing can show legibly.
	maxGroups = 8
	// maxHosts limits the hosts listed for a group.
	maxHosts = 4
)

// topology is the part of a snapshot that is drawn, in drawing order.
type topology struct {
	producers []string
	publishes map[string][]string // names of exchanges by producer
	exchanges []*queuepb.Exchange
	bindings  []*queuepb.Binding
	queues    []*queuepb.Queue
}

// viewer is the producer of test messages: the user viewing the page.
const viewer = "you"

// selectTopology returns the exchanges and queues for test messages if test is set, and
// all others if not. They are ordered so that few bindings cross.
func selectTopology(s *queuepb.Snapshot, test bool) topology {
	t := topology{publishes: map[string][]string{}}
	selected := map[string]bool{}
	for _, e := range s.Exchanges {
		if e.Test == test {
			t.exchanges = append(t.exchanges, e)
			selected["exchange "+e.Name] = true
		}
	}
	for _, q := range s.Queues {
		if q.Test == test {
			t.queues = append(t.queues, q)
			selected["queue "+q.Name] = true
		}
	}
	for _, b := range s.Bindings {
		if selected["exchange "+b.Exchange] && selected["queue "+b.Queue] {
			t.bindings = append(t.bindings, b)
		}
	}
	t.sort()
	for _, e := range t.exchanges {
		producers := e.Producers
		if test && len(producers) == 0 {
			producers = []string{viewer}
		}
		for _, producer := range producers {
			if t.publishes[producer] == nil {
				t.producers = append(t.producers, producer)
			}
			t.publishes[producer] = append(t.publishes[producer], e.Name)
		}
	}
	return t
}

// sort orders queues by the mean position of their exchanges and exchanges by that of
// their queues (the barycenter heuristic). Two rounds suffice: more rarely reduce the
// crossings further.
func (t *topology) sort() {
	byName := func(a, b *queuepb.Exchange) int { return strings.Compare(a.Name, b.Name) }
	slices.SortStableFunc(t.exchanges, byName)
	slices.SortStableFunc(t.queues, func(a, b *queuepb.Queue) int { return strings.Compare(a.Name, b.Name) })
	for range 2 {
		exchangeIndex := map[string]int{}
		for i, e := range t.exchanges {
			exchangeIndex[e.Name] = i
		}
		positions := map[string]float64{}
		for _, q := range t.queues {
			var indexes []int
			for _, b := range t.bindingsOf(q) {
				indexes = append(indexes, exchangeIndex[b.Exchange])
			}
			positions[q.Name] = mean(indexes)
		}
		slices.SortStableFunc(t.queues, func(a, b *queuepb.Queue) int { return cmp.Compare(positions[a.Name], positions[b.Name]) })
		queueIndex := map[string]int{}
		for i, q := range t.queues {
			queueIndex[q.Name] = i
		}
		clear(positions)
		for _, e := range t.exchanges {
			var indexes []int
			for _, b := range t.bindings {
				if b.Exchange == e.Name {
					indexes = append(indexes, queueIndex[b.Queue])
				}
			}
			positions[e.Name] = mean(indexes)
		}
		slices.SortStableFunc(t.exchanges, func(a, b *queuepb.Exchange) int { return cmp.Compare(positions[a.Name], positions[b.Name]) })
	}
	exchangeIndex := map[string]int{}
	for i, e := range t.exchanges {
		exchangeIndex[e.Name] = i
	}
	slices.SortStableFunc(t.bindings, func(a, b *queuepb.Binding) int {
		return cmp.Or(cmp.Compare(exchangeIndex[a.Exchange], exchangeIndex[b.Exchange]), strings.Compare(a.Pattern, b.Pattern))
	})
}

// bindingsOf returns the bindings of a queue.
func (t *topology) bindingsOf(q *queuepb.Queue) (bindings []*queuepb.Binding) {
	for _, b := range t.bindings {
		if b.Queue == q.Name {
			bindings = append(bindings, b)
		}
	}
	return bindings
}

// consumerGroup is a set of processes that consume the same queues.
type consumerGroup struct {
	queues []string
	hosts  map[string]string // by process
	lines  []string          // the label
}

// groupConsumers groups the consuming processes by the queues that they consume. When
// there are maxGroups groups, further processes join the last one.
func groupConsumers(queues []*queuepb.Queue) []consumerGroup {
	queuesOf, hosts := map[string][]string{}, map[string]string{}
	for _, q := range queues {
		for _, c := range q.Consumers {
			queuesOf[c.Process] = append(queuesOf[c.Process], q.Name)
			hosts[c.Process] = c.Host
		}
	}
	var groups []consumerGroup
	groupIndex := map[string]int{}
	for _, process := range slices.Sorted(maps.Keys(queuesOf)) {
		key := strings.Join(queuesOf[process], "\n")
		i, ok := groupIndex[key]
		if !ok {
			if len(groups) == maxGroups {
				i = maxGroups - 1
				for _, name := range queuesOf[process] {
					if !slices.Contains(groups[i].queues, name) {
						groups[i].queues = append(groups[i].queues, name)
					}
				}
			} else {
				i = len(groups)
				groups = append(groups, consumerGroup{queues: queuesOf[process], hosts: map[string]string{}})
			}
			groupIndex[key] = i
		}
		groups[i].hosts[process] = hosts[process]
	}
	queueIndex := map[string]int{}
	for i, q := range queues {
		queueIndex[q.Name] = i
	}
	position := func(g consumerGroup) float64 {
		var indexes []int
		for _, name := range g.queues {
			indexes = append(indexes, queueIndex[name])
		}
		return mean(indexes)
	}
	slices.SortStableFunc(groups, func(a, b consumerGroup) int { return cmp.Compare(position(a), position(b)) })
	for i := range groups {
		groups[i].lines = groupLines(groups[i].hosts)
	}
	return groups
}

// groupLines returns the label of a group: host and process of a single process, or
// the number of processes on each host.
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
			lines = append(lines, fmt.Sprintf("%s ×%d", clip(host, maxHostLen-4), count[host]))
		default:
			lines = append(lines, host)
		}
	}
	return lines
}

// mean returns the mean of positions. Without positions it returns a large number, so
// that unconnected elements are placed last.
func mean(positions []int) float64 {
	if len(positions) == 0 {
		return math.MaxInt16
	}
	sum := 0
	for _, n := range positions {
		sum += n
	}
	return float64(sum) / float64(len(positions))
}

// bindingLabel returns the text shown on a binding's line.
func bindingLabel(b *queuepb.Binding, kind string) string {
	if kind == "fanout" {
		return "every message"
	}
	return b.Pattern
}

func (t *topology) bindingLabels() (labels []string) {
	for _, b := range t.bindings {
		kind := ""
		for _, e := range t.exchanges {
			if e.Name == b.Exchange {
				kind = e.Type
			}
		}
		labels = append(labels, bindingLabel(b, kind))
	}
	return labels
}
