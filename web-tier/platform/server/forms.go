package server

import (
	"bytes"
	"io"
	"mime"
	"net/http"
	"time"

	"techtalks.example/web-tier/platform/logicclient"
)

// admitForm limits how many forms are processed concurrently. A form is read completely
// before it takes a slot, so that a slow client holds none. Reading is limited too, in
// number and in time. A form with a file cannot be read in advance: it is streamed to the
// logic tier, in slots of its own.
func (m *Middleware) admitForm(w http.ResponseWriter, r *http.Request, next http.Handler) {
	caller, slots := m.caller(r), m.forms
	if isStreamed(r) {
		slots = m.streamed
	} else if err := m.readForm(w, r, caller); err != nil {
		m.rejectForm(w, r, err)
		return
	}
	release, err := slots.Acquire(caller)
	if err != nil {
		m.rejectForm(w, r, err)
		return
	}
	defer release()
	next.ServeHTTP(w, r)
}

// isStreamed reports whether a form is too large to be read in advance. Only a form with a
// file is allowed to be.
func isStreamed(r *http.Request) bool {
	mediaType, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return mediaType == "multipart/form-data" && (r.ContentLength < 0 || r.ContentLength > MaxForm)
}

// readForm reads a form and leaves it in r.Body, at most one byte more than MaxForm. The
// rest of a form that is too large is read and discarded: if the connection were closed
// while the browser still sends, it would show an error of its own instead of our page.
func (m *Middleware) readForm(w http.ResponseWriter, r *http.Request, caller logicclient.Caller) error {
	if r.ContentLength == 0 {
		return nil
	}
	release, err := m.readers.Acquire(caller)
	if err != nil {
		return err
	}
	defer release()
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(FormTimeout)) // not supported by httptest.ResponseRecorder
	// Otherwise the server's own read deadline would later cancel the request's context as
	// if the client had disconnected.
	defer func() { _ = control.SetReadDeadline(time.Time{}) }()
	body, err := io.ReadAll(io.LimitReader(r.Body, MaxForm+1))
	if err != nil {
		return incompleteForm
	}
	if len(body) > MaxForm {
		_, _ = io.CopyN(io.Discard, r.Body, MaxDrained)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return nil
}

// rejectForm answers a form that was not read. The server reads the rest of the body before
// it answers: the deadline keeps a slow client from holding the connection for that.
func (m *Middleware) rejectForm(w http.ResponseWriter, r *http.Request, err error) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(rejectedBodyTimeout))
	m.shed(w, r, err)
}

var incompleteForm = &logicclient.Problem{Status: http.StatusRequestTimeout, Title: "The form did not arrive",
	Message: "The connection broke or was too slow. Go back and send the form again."}
