package server

import (
	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	calls *prometheus.HistogramVec
}

// newMetrics registers the server's metrics. The cardinality of the labels is bounded
// by the methods and codes of the contract.
func newMetrics(registry prometheus.Registerer) metrics {
	m := metrics{calls: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "server_call_seconds",
		Help:    "Duration of unary calls and lifetime of streams, by method and gRPC code.",
		Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	}, []string{"method", "code"})}
	registry.MustRegister(m.calls)
	return m
}
