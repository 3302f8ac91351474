package server

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	requests *prometheus.CounterVec
	took     *prometheus.HistogramVec
	underWay prometheus.Gauge
	refused  prometheus.Counter
}

func newMetrics(registry prometheus.Registerer) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "web_requests_total", Help: "Requests answered, by route and status.",
		}, []string{"route", "status"}),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "web_request_seconds", Help: "How long requests took, by route; streams and long polls are left out.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 3, 10},
		}, []string{"route"}),
		underWay: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "web_requests_under_way", Help: "Requests under way; a stream is none any more once it has begun (live_streams counts those).",
		}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{Name: "web_refused_total", Help: "Requests that there was no room for."}),
	}
	registry.MustRegister(m.requests, m.took, m.underWay, m.refused)
	return m
}

// done counts a request by the pattern it matched: patterns are few, paths are
// as many as somebody cares to make up.
func (m *metrics) done(r *http.Request, status int, took time.Duration) {
	route := r.Pattern
	if route == "" {
		route = "none"
	}
	m.requests.WithLabelValues(route, strconv.Itoa(status)).Inc()
	if !strings.HasSuffix(route, "/stream") && !strings.HasSuffix(route, "/wait") {
		m.took.WithLabelValues(route).Observe(took.Seconds())
	}
}
