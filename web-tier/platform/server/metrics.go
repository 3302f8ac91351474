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
	latency  *prometheus.HistogramVec
	inFlight prometheus.Gauge
	shed     prometheus.Counter
}

func newMetrics(registry prometheus.Registerer) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "web_requests_total", Help: "Requests answered, by route and status.",
		}, []string{"route", "status"}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "web_request_seconds", Help: "Request latency, by route, without streams and long polls.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 3, 10},
		}, []string{"route"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "web_requests_under_way", Help: "Requests in flight, without streams that have started (see live_streams).",
		}),
		shed: prometheus.NewCounter(prometheus.CounterOpts{Name: "web_refused_total", Help: "Requests shed because no slot was free."}),
	}
	registry.MustRegister(m.requests, m.latency, m.inFlight, m.shed)
	return m
}

// record counts a request by the pattern it matched: patterns are few, while clients can
// make up any number of paths.
func (m *metrics) record(r *http.Request, status int, latency time.Duration) {
	route := r.Pattern
	if route == "" {
		route = "none"
	}
	m.requests.WithLabelValues(route, strconv.Itoa(status)).Inc()
	if !strings.HasSuffix(route, "/stream") && !strings.HasSuffix(route, "/wait") {
		m.latency.WithLabelValues(route).Observe(latency.Seconds())
	}
}
