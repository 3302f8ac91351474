package server

import (
	"mime"
	"net/http"
	"strconv"
	"strings"
)

// PrefersJSON reports whether a request prefers JSON to HTML (RFC 9110, section 12.5.1). At
// equal quality the type that the Accept header names more specifically wins, and otherwise
// HTML: "*/*" gets a page.
func PrefersJSON(r *http.Request) bool {
	var json, html preference
	for _, accepted := range strings.Split(strings.Join(r.Header.Values("Accept"), ","), ",") {
		mediaRange, parameters, err := mime.ParseMediaType(accepted)
		if err != nil {
			continue
		}
		quality := 1.0
		if q, ok := parameters["q"]; ok {
			if quality, err = strconv.ParseFloat(q, 64); err != nil || !(quality >= 0 && quality <= 1) {
				continue
			}
		}
		json.consider(mediaRange, "application/json", quality)
		html.consider(mediaRange, "text/html", quality)
	}
	return json.quality > html.quality || json.quality == html.quality && json.quality > 0 && json.specificity > html.specificity
}

// preference is the quality of a media type, from the most specific range that matches it.
type preference struct {
	quality     float64
	specificity int // 3 for type/subtype, 2 for type/*, 1 for */*
}

func (p *preference) consider(mediaRange, mediaType string, quality float64) {
	specificity := 0
	major, _, _ := strings.Cut(mediaType, "/")
	switch mediaRange {
	case mediaType:
		specificity = 3
	case major + "/*":
		specificity = 2
	case "*/*":
		specificity = 1
	}
	if specificity > p.specificity {
		*p = preference{quality, specificity}
	}
}
