package ledger

import "github.com/prometheus/client_golang/prometheus"

var (
	acknowledgedMetric = prometheus.NewDesc("queue_acknowledged_total", "Messages that consumers of this process acknowledged.", []string{"queue"}, nil)
	redeliveredMetric  = prometheus.NewDesc("queue_redelivered_total", "Deliveries to this process that were not the first of their message.", []string{"queue"}, nil)
	deadMetric         = prometheus.NewDesc("queue_dead_letters_total", "Messages that this process gave up.", []string{"queue"}, nil)
	heldMetric         = prometheus.NewDesc("queue_held", "Messages that this process holds and has not settled.", []string{"queue"}, nil)
)

// Describe describes the registry's metrics (prometheus.Collector).
func (r *Registry) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{acknowledgedMetric, redeliveredMetric, deadMetric, heldMetric} {
		to <- d
	}
}

// Collect counts what the consumers of this process did, a queue at a time.
func (r *Registry) Collect(to chan<- prometheus.Metric) {
	type counts struct{ acknowledged, redelivered, dead, held int64 }
	all := map[string]counts{}
	r.mu.Lock()
	for m := range r.members {
		c := all[m.queue]
		c.acknowledged += m.acknowledged.Load()
		c.redelivered += m.redelivered.Load()
		c.dead += m.dead.Load()
		c.held += m.held.Load()
		all[m.queue] = c
	}
	r.mu.Unlock()
	for queue, c := range all {
		to <- prometheus.MustNewConstMetric(acknowledgedMetric, prometheus.CounterValue, float64(c.acknowledged), queue)
		to <- prometheus.MustNewConstMetric(redeliveredMetric, prometheus.CounterValue, float64(c.redelivered), queue)
		to <- prometheus.MustNewConstMetric(deadMetric, prometheus.CounterValue, float64(c.dead), queue)
		to <- prometheus.MustNewConstMetric(heldMetric, prometheus.GaugeValue, float64(c.held), queue)
	}
}
