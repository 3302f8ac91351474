package ledger

import "github.com/prometheus/client_golang/prometheus"

var (
	acknowledgedMetric = prometheus.NewDesc("queue_acknowledged_total", "Messages that consumers of this process acknowledged.", []string{"queue"}, nil)
	redeliveredMetric  = prometheus.NewDesc("queue_redelivered_total", "Redeliveries to consumers of this process.", []string{"queue"}, nil)
	deadMetric         = prometheus.NewDesc("queue_dead_letters_total", "Messages that this process dead-lettered.", []string{"queue"}, nil)
	heldMetric         = prometheus.NewDesc("queue_held", "Messages that this process holds and has not settled.", []string{"queue"}, nil)
)

// Describe sends the registry's metric descriptions (prometheus.Collector).
func (r *Registry) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{acknowledgedMetric, redeliveredMetric, deadMetric, heldMetric} {
		ch <- d
	}
}

// Collect sends the counts of this process's consumers, summed by queue.
func (r *Registry) Collect(ch chan<- prometheus.Metric) {
	type counts struct{ acknowledged, redelivered, dead, held int64 }
	byQueue := map[string]counts{}
	r.mu.Lock()
	for m := range r.members {
		c := byQueue[m.queue]
		c.acknowledged += m.acknowledged.Load()
		c.redelivered += m.redelivered.Load()
		c.dead += m.dead.Load()
		c.held += m.held.Load()
		byQueue[m.queue] = c
	}
	r.mu.Unlock()
	for queue, c := range byQueue {
		ch <- prometheus.MustNewConstMetric(acknowledgedMetric, prometheus.CounterValue, float64(c.acknowledged), queue)
		ch <- prometheus.MustNewConstMetric(redeliveredMetric, prometheus.CounterValue, float64(c.redelivered), queue)
		ch <- prometheus.MustNewConstMetric(deadMetric, prometheus.CounterValue, float64(c.dead), queue)
		ch <- prometheus.MustNewConstMetric(heldMetric, prometheus.GaugeValue, float64(c.held), queue)
	}
}
