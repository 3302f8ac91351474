package main

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"time"
)

// asker is somebody with one connection. It is a light client: what it works, the
// measured lack.
type asker struct {
	address    string
	connection net.Conn
	in         *bufio.Reader
}

func (a *asker) connect() (err error) {
	if a.connection, err = net.DialTimeout("tcp", a.address, callTimeout); err != nil {
		return err
	}
	a.in = bufio.NewReaderSize(a.connection, 32<<10)
	return nil
}

func (a *asker) close() {
	if a.connection != nil {
		_ = a.connection.Close()
		a.connection = nil
	}
}

// reply is what a page was answered with.
type reply struct {
	status int
	again  string // when it may be asked for again
	age    string // of a page as it had been; empty when it was made anew
}

// ask asks for a page.
func (a *asker) ask(path string) (r reply, err error) {
	if a.connection == nil {
		if err := a.connect(); err != nil {
			return reply{}, err
		}
	}
	defer func() {
		if err != nil {
			a.close()
		}
	}()
	_ = a.connection.SetDeadline(time.Now().Add(callTimeout))
	if _, err := io.WriteString(a.connection, "GET "+path+" HTTP/1.1\r\nHost: bench\r\nUser-Agent: bench\r\n\r\n"); err != nil {
		return reply{}, err
	}
	response, err := http.ReadResponse(a.in, nil) //nolint:bodyclose // read to its end; the connection is kept
	if err != nil {
		return reply{}, err
	}
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return reply{}, err
	}
	return reply{response.StatusCode, response.Header.Get("Retry-After"), response.Header.Get("Age")}, nil
}
