package server

import (
	"bytes"
	"io"
	"mime"
	"net/http"
	"time"

	"techtalks.example/web-tier/platform/logicclient"
)

// admitForm bounds the forms that are processed at the same time. A form is read
// completely before it takes a slot: a client that sends slowly holds none. Clients whose
// forms are being read are bounded too, and by how long that may take. A form with a
// file cannot be read in advance: it is streamed to the logic tier, in slots of its own.
func (p *Passage) admitForm(w http.ResponseWriter, r *http.Request, next http.Handler) {
	caller, slots := p.caller(r), p.forms
	if streams(r) {
		slots = p.streamed
	} else if err := p.readForm(w, r, caller); err != nil {
		p.refuseForm(w, r, err)
		return
	}
	release, err := slots.Acquire(caller)
	if err != nil {
		p.refuseForm(w, r, err)
		return
	}
	defer release()
	next.ServeHTTP(w, r)
}

// streams reports whether a form is too large to be read in advance. Only one with a file
// may be.
func streams(r *http.Request) bool {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return kind == "multipart/form-data" && (r.ContentLength < 0 || r.ContentLength > MaxForm)
}

// readForm reads a form and leaves it in r.Body, one byte more than MaxForm at most. The
// rest of a form that is too large is read and thrown away: a connection that is closed
// while the browser still sends shows the browser's own error instead of our page.
func (p *Passage) readForm(w http.ResponseWriter, r *http.Request, caller logicclient.Caller) error {
	if r.ContentLength == 0 {
		return nil
	}
	release, err := p.readers.Acquire(caller)
	if err != nil {
		return err
	}
	defer release()
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(FormTimeout)) // tests' writers have none
	// The server's own read deadline would later end the request's context as if the
	// client had left.
	defer func() { _ = control.SetReadDeadline(time.Time{}) }()
	body, err := io.ReadAll(io.LimitReader(r.Body, MaxForm+1))
	if err != nil {
		return formCutOff
	}
	if len(body) > MaxForm {
		_, _ = io.CopyN(io.Discard, r.Body, MaxDrained)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return nil
}

// refuseForm answers a form that was not read. The server reads what is left of a body
// before it answers: a client that sends slowly must not keep the connection for that.
func (p *Passage) refuseForm(w http.ResponseWriter, r *http.Request, err error) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(refusedBody))
	p.full(w, r, err)
}

var formCutOff = &logicclient.Problem{Status: http.StatusRequestTimeout, Title: "The form did not arrive",
	Message: "The connection broke or was too slow. Go back and send the form again."}
