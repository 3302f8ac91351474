package ui

import (
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"techtalks.example/web-tier/platform/logicclient"
	"techtalks.example/web-tier/platform/server"
)

// Form parses what was typed; server.Admit has read it, unless it comes with a file. What is too large, or no text, is an error that
// says so; what could be read of it is kept.
func (v *Visit) Form() error {
	v.Request.PostForm = url.Values{}
	kind, parameters, _ := mime.ParseMediaType(v.Request.Header.Get("Content-Type"))
	if kind == "multipart/form-data" && parameters["boundary"] != "" {
		return v.parts(multipart.NewReader(v.Request.Body, parameters["boundary"]))
	}
	if kind != "application/x-www-form-urlencoded" && v.Request.ContentLength != 0 {
		return noForm
	}
	body, err := io.ReadAll(io.LimitReader(v.Request.Body, server.MaxForm+1))
	if err != nil {
		return cutOff
	}
	large := len(body) > server.MaxForm
	if large {
		// The last field is cut off; what a cut leaves of a character is no text.
		body = body[:server.MaxForm]
		body = body[:max(0, len(body)-len(incompleteEnd(body)))]
	}
	values, err := url.ParseQuery(string(body))
	for name, all := range values {
		for i, value := range all {
			if !utf8.ValidString(name) || !utf8.ValidString(value) {
				if !large {
					return badText
				}
				all[i] = strings.ToValidUTF8(value, "")
			}
		}
	}
	if err != nil && !large {
		return badText
	}
	v.Request.PostForm = values
	if large {
		return tooLarge
	}
	return nil
}

// incompleteEnd returns the part of a percent escape that a cut left at the end.
func incompleteEnd(body []byte) []byte {
	for i := 1; i <= 2 && i <= len(body); i++ {
		if body[len(body)-i] == '%' {
			return body[len(body)-i:]
		}
	}
	return nil
}

var (
	tooLarge = &logicclient.Problem{Status: http.StatusRequestEntityTooLarge, Title: "That is too much",
		Message: "A form may hold 256 KB. Shorten what you typed and send it again."}
	noForm = &logicclient.Problem{Status: http.StatusUnsupportedMediaType, Title: "That is no form",
		Message: "Send a form as application/x-www-form-urlencoded, or with a file as multipart/form-data."}
	cutOff = &logicclient.Problem{Status: http.StatusBadRequest, Title: "The form did not arrive",
		Message: "The connection broke or was too slow. Go back and send it again."}
)

var badText = &logicclient.Problem{Status: http.StatusBadRequest, Title: "That is no text",
	Message: "What was sent is not valid text (UTF-8). Go back, remove what is not text, and send it again."}

// Fields is a form as it is shown: what was typed, and what is wrong with it.
type Fields struct {
	Values  map[string]string
	Wrong   map[string]string
	Problem *logicclient.Problem // of the form as a whole
}

// Filled returns a form that holds values.
func Filled(values map[string]string) Fields {
	return Fields{Values: values, Wrong: map[string]string{}}
}

// Typed returns a form with what was typed.
func (v *Visit) Typed(names ...string) Fields {
	f := Fields{Values: map[string]string{}, Wrong: map[string]string{}}
	for _, name := range names {
		f.Values[name] = v.Request.PostForm.Get(name)
	}
	return f
}

// Refused is Fields.Refused for this visit: the answer says when to try again, and
// a program is told what is wrong instead of being shown the form.
func (v *Visit) Refused(f Fields, err error, called map[string]string) (Fields, int, bool) {
	if v.PrefersJSON() {
		return f, 0, false
	}
	f, status, again := f.Refused(err, called)
	if again {
		v.budget(afterwards)
		v.retryAfter(logicclient.Explain(err))
	}
	return f, status, again
}

// Refused returns the form with what is wrong with it, and true, when err is
// about what was typed: then the form is shown again. called says which field of
// the form is which of the contract where their names differ.
func (f Fields) Refused(err error, called map[string]string) (Fields, int, bool) {
	p := logicclient.Explain(err)
	if p == badText {
		return f, 0, false // there is nothing typed to show
	}
	switch p.Status {
	case http.StatusBadRequest, http.StatusConflict, http.StatusTooManyRequests, http.StatusRequestEntityTooLarge, http.StatusRequestTimeout,
		// What was typed must outlive a logic tier that is away for a moment.
		http.StatusServiceUnavailable, http.StatusGatewayTimeout:
	case http.StatusUnauthorized:
		if p.NeedsSession() {
			return f, 0, false
		}
	default:
		return f, 0, false
	}
	for name, description := range p.Fields {
		if other := called[name]; other != "" {
			name = other
		}
		if _, has := f.Values[name]; has {
			f.Wrong[name] = capital(description)
		} else if f.Problem == nil {
			// Wrong, but nothing that was typed: a name in the address.
			f.Problem = p
		}
	}
	if len(f.Wrong) == 0 {
		f.Problem = p
	}
	status := p.Status
	if status == http.StatusBadRequest {
		status = http.StatusUnprocessableEntity
	}
	return f, status, true
}
