package live

import "github.com/prometheus/client_golang/prometheus"

// gauges counts who follows a feed, by way.
type gauges struct {
	feed             *Feed
	streams, waiters *prometheus.Desc
}

// Collector counts the open streams as <name>_streams and the long polls that
// wait as <name>_waiters.
func (f *Feed) Collector(name string) prometheus.Collector {
	return &gauges{
		feed:    f,
		streams: prometheus.NewDesc(name+"_streams", "Browsers that follow over a stream of this process.", nil, nil),
		waiters: prometheus.NewDesc(name+"_waiters", "Long polls that wait in this process.", nil, nil),
	}
}

// Describe sends what is counted.
func (g *gauges) Describe(into chan<- *prometheus.Desc) {
	into <- g.streams
	into <- g.waiters
}

// Collect sends the counts.
func (g *gauges) Collect(into chan<- prometheus.Metric) {
	g.feed.mu.RLock()
	all, waiters := len(g.feed.readers), g.feed.waiters
	g.feed.mu.RUnlock()
	into <- prometheus.MustNewConstMetric(g.streams, prometheus.GaugeValue, float64(all-waiters))
	into <- prometheus.MustNewConstMetric(g.waiters, prometheus.GaugeValue, float64(waiters))
}
