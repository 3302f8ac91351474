package main

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"time"
)

// pageClient is an HTTP client with one connection. It does little work, because it shares the
// processors with the measured site.
type pageClient struct {
	address    string
	connection net.Conn
	reader     *bufio.Reader
}

func (c *pageClient) connect() (err error) {
	if c.connection, err = net.DialTimeout("tcp", c.address, callTimeout); err != nil {
		return err
	}
	c.reader = bufio.NewReaderSize(c.connection, 32<<10)
	return nil
}

func (c *pageClient) close() {
	if c.connection != nil {
		_ = c.connection.Close()
		c.connection = nil
	}
}

// reply is the response to a page request.
type reply struct {
	status     int
	retryAfter string // Retry-After
	age        string // of a stale page; empty if the page was rendered
}

// get requests a page.
func (c *pageClient) get(path string) (r reply, err error) {
	if c.connection == nil {
		if err := c.connect(); err != nil {
			return reply{}, err
		}
	}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	_ = c.connection.SetDeadline(time.Now().Add(callTimeout))
	if _, err := io.WriteString(c.connection, "GET "+path+" HTTP/1.1\r\nHost: bench\r\nUser-Agent: bench\r\n\r\n"); err != nil {
		return reply{}, err
	}
	response, err := http.ReadResponse(c.reader, nil) //nolint:bodyclose // read to the end; the connection is reused
	if err != nil {
		return reply{}, err
	}
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return reply{}, err
	}
	return reply{response.StatusCode, response.Header.Get("Retry-After"), response.Header.Get("Age")}, nil
}
