package server

import (
	"mime"
	"net/http"
	"strconv"
	"strings"
)

// PrefersJSON says whether a request is rather answered with JSON than with a page
// (RFC 9110, 12.5.1). Who weighs both alike gets what it names more closely, and
// else the page: "*/*" is a page.
func PrefersJSON(r *http.Request) bool {
	var json, html weight
	for _, one := range strings.Split(strings.Join(r.Header.Values("Accept"), ","), ",") {
		kind, parameters, err := mime.ParseMediaType(one)
		if err != nil {
			continue
		}
		quality := 1.0
		if text, said := parameters["q"]; said {
			if quality, err = strconv.ParseFloat(text, 64); err != nil || !(quality >= 0 && quality <= 1) {
				continue
			}
		}
		json.consider(kind, "application/json", quality)
		html.consider(kind, "text/html", quality)
	}
	return json.quality > html.quality || json.quality == html.quality && json.quality > 0 && json.closeness > html.closeness
}

// weight is how much a media type is wanted, by the range that names it most
// closely.
type weight struct {
	quality   float64
	closeness int // 3 for the type itself, 2 for all of its kind, 1 for all
}

func (w *weight) consider(accepted, kind string, quality float64) {
	closeness := 0
	major, _, _ := strings.Cut(kind, "/")
	switch accepted {
	case kind:
		closeness = 3
	case major + "/*":
		closeness = 2
	case "*/*":
		closeness = 1
	}
	if closeness > w.closeness {
		*w = weight{quality, closeness}
	}
}
