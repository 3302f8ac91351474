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

// ParseForm parses the request body into Request.PostForm. server.Admit has already read
// the body, unless the form carries a file. If the form is too large or is not valid UTF-8,
// ParseForm returns a *logicclient.Problem; PostForm then holds the fields parsed so far.
func (v *PageContext) ParseForm() error {
	v.Request.PostForm = url.Values{}
	kind, parameters, _ := mime.ParseMediaType(v.Request.Header.Get("Content-Type"))
	if kind == "multipart/form-data" && parameters["boundary"] != "" {
		return v.parseMultipart(multipart.NewReader(v.Request.Body, parameters["boundary"]))
	}
	if kind != "application/x-www-form-urlencoded" && v.Request.ContentLength != 0 {
		return errNotForm
	}
	body, err := io.ReadAll(io.LimitReader(v.Request.Body, server.MaxForm+1))
	if err != nil {
		return errFormInterrupted
	}
	large := len(body) > server.MaxForm
	if large {
		// The last field is truncated, possibly in the middle of a percent escape.
		body = body[:server.MaxForm]
		body = body[:max(0, len(body)-len(incompleteEnd(body)))]
	}
	values, err := url.ParseQuery(string(body))
	for name, all := range values {
		for i, value := range all {
			if !utf8.ValidString(name) || !utf8.ValidString(value) {
				if !large {
					return errNotUTF8
				}
				all[i] = strings.ToValidUTF8(value, "")
			}
		}
	}
	if err != nil && !large {
		return errNotUTF8
	}
	v.Request.PostForm = values
	if large {
		return errFormTooLarge
	}
	return nil
}

// incompleteEnd returns the truncated percent escape at the end of body, if any.
func incompleteEnd(body []byte) []byte {
	for i := 1; i <= 2 && i <= len(body); i++ {
		if body[len(body)-i] == '%' {
			return body[len(body)-i:]
		}
	}
	return nil
}

var (
	errFormTooLarge = &logicclient.Problem{Status: http.StatusRequestEntityTooLarge, Title: "Form too large",
		Message: "A form can hold up to 256 KB. Shorten your text and submit it again."}
	errNotForm = &logicclient.Problem{Status: http.StatusUnsupportedMediaType, Title: "Unsupported form type",
		Message: "Send the form as application/x-www-form-urlencoded, or as multipart/form-data if it includes a file."}
	errFormInterrupted = &logicclient.Problem{Status: http.StatusBadRequest, Title: "The form did not arrive",
		Message: "The connection broke or was too slow. Go back and submit the form again."}
	errNotUTF8 = &logicclient.Problem{Status: http.StatusBadRequest, Title: "Invalid text",
		Message: "The form contains characters that are not valid text (UTF-8). Go back, remove them, and submit it again."}
)

// Fields is a form to display: the values of its fields and the errors in them.
type Fields struct {
	Values  map[string]string
	Errors  map[string]string    // by field name
	Problem *logicclient.Problem // concerns the whole form
}

// NewFields returns a form with values and no errors.
func NewFields(values map[string]string) Fields {
	return Fields{Values: values, Errors: map[string]string{}}
}

// Submitted returns the named fields as the user submitted them. Call it after ParseForm.
func (v *PageContext) Submitted(names ...string) Fields {
	f := Fields{Values: map[string]string{}, Errors: map[string]string{}}
	for _, name := range names {
		f.Values[name] = v.Request.PostForm.Get(name)
	}
	return f
}

// WithErrors calls Fields.WithErrors. If the form is to be shown again, it also sets the
// Retry-After header and grants the calls that re-render the page a new budget. For a client
// that prefers JSON it reports false: such a client receives the error, not the form.
func (v *PageContext) WithErrors(f Fields, err error, fieldNames map[string]string) (_ Fields, status int, ok bool) {
	if v.PrefersJSON() {
		return f, 0, false
	}
	f, status, ok = f.WithErrors(err, fieldNames)
	if ok {
		v.setBudget(recoveryBudget)
		v.setRetryAfter(logicclient.Explain(err))
	}
	return f, status, ok
}

// WithErrors returns the form annotated with err and the status to render it with. It
// reports false if showing the form again would not help; the caller then returns err.
// fieldNames maps field names of the contract to those of the form where they differ.
func (f Fields) WithErrors(err error, fieldNames map[string]string) (_ Fields, status int, ok bool) {
	p := logicclient.Explain(err)
	if p == errNotUTF8 {
		return f, 0, false // no values to show
	}
	switch p.Status {
	case http.StatusBadRequest, http.StatusConflict, http.StatusTooManyRequests, http.StatusRequestEntityTooLarge, http.StatusRequestTimeout,
		// The input must survive a brief outage of the logic tier.
		http.StatusServiceUnavailable, http.StatusGatewayTimeout:
	case http.StatusUnauthorized:
		if p.NeedsSession() {
			return f, 0, false
		}
	default:
		return f, 0, false
	}
	for name, description := range p.Fields {
		if formName := fieldNames[name]; formName != "" {
			name = formName
		}
		if _, found := f.Values[name]; found {
			f.Errors[name] = Sentence(description)
		} else if f.Problem == nil {
			// The field is not in the form; it comes from the URL.
			f.Problem = p
		}
	}
	if len(f.Errors) == 0 {
		f.Problem = p
	}
	status = p.Status
	if status == http.StatusBadRequest {
		status = http.StatusUnprocessableEntity
	}
	return f, status, true
}
