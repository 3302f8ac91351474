package media

import (
	"context"
	"time"
)

// SweepNow removes at once what the next sweep would.
func (m *Module) SweepNow(ctx context.Context) error { return m.sweepOnce(ctx) }

// SetSegment makes segments of about so many seconds.
func (m *Module) SetSegment(seconds float64) { m.segment = seconds }

// ParseFile reads a file's name and writes it again.
func ParseFile(name string) (string, error) {
	n, err := parseFile(name)
	return n.String(), err
}

// Appender returns the request that appends to an upload; nil for none.
func (m *Module) Appender(upload string) any {
	m.appenders.mu.Lock()
	defer m.appenders.mu.Unlock()
	if a := m.appenders.current[upload]; a != nil {
		return a
	}
	return nil
}

// ChunkSize is how many bytes a chunk has.
const ChunkSize = chunkSize

// Tidy removes what killed processes left.
func (m *Module) Tidy() error { return m.scratch.tidy() }

// Run runs a program under the limits that ffmpeg runs under.
func Run(ctx context.Context, folder string, heed func(string), program string, arguments ...string) error {
	_, err := command{program: program, arguments: arguments, folder: folder, timeout: time.Hour, output: 1 << 20}.run(ctx, heed)
	return err
}
