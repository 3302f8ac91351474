package live

import "github.com/prometheus/client_golang/prometheus"

// collector exports the number of a feed's subscribers by transport.
type collector struct {
	feed             *Feed
	streams, waiters *prometheus.Desc
}

// Collector returns a collector of the open streams as <name>_streams and of the
// waiting long polls as <name>_waiters.
func (f *Feed) Collector(name string) prometheus.Collector {
	return &collector{
		feed:    f,
		streams: prometheus.NewDesc(name+"_streams", "Open event streams of this process.", nil, nil),
		waiters: prometheus.NewDesc(name+"_waiters", "Long polls waiting in this process.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(descs chan<- *prometheus.Desc) {
	descs <- c.streams
	descs <- c.waiters
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(metrics chan<- prometheus.Metric) {
	c.feed.mu.RLock()
	total, waiters := len(c.feed.subscribers), c.feed.longPolls
	c.feed.mu.RUnlock()
	metrics <- prometheus.MustNewConstMetric(c.streams, prometheus.GaugeValue, float64(total-waiters))
	metrics <- prometheus.MustNewConstMetric(c.waiters, prometheus.GaugeValue, float64(waiters))
}
