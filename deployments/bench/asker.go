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

// ask asks for a page, and returns its status and when it may be asked for again.
func (a *asker) ask(path string) (status int, again string, err error) {
	if a.connection == nil {
		if err := a.connect(); err != nil {
			return 0, "", err
		}
	}
	defer func() {
		if err != nil {
			a.close()
		}
	}()
	_ = a.connection.SetDeadline(time.Now().Add(callTimeout))
	if _, err := io.WriteString(a.connection, "GET "+path+" HTTP/1.1\r\nHost: bench\r\nUser-Agent: bench\r\n\r\n"); err != nil {
		return 0, "", err
	}
	response, err := http.ReadResponse(a.in, nil)
	if err != nil {
		return 0, "", err
	}
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return 0, "", err
	}
	return response.StatusCode, response.Header.Get("Retry-After"), nil
}
