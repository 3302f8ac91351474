package accounts

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
)

// Parameters of the password hash: the first choice for argon2id of OWASP's Password
// Storage Cheat Sheet. They make guessing slow and a single sign-in fast enough.
const (
	argonMemory  = 19 * 1024 // KiB
	argonTime    = 2
	argonThreads = 1
	saltLength   = 16
	keyLength    = 32
)

// dummyHash is a hash that no password matches. Checking a password against it takes as
// long as against a real one, so that the response time does not reveal whether a handle
// exists.
var dummyHash = phc(argonMemory, argonTime, argonThreads, make([]byte, saltLength), make([]byte, keyLength))

// hashPassword returns a password's hash as a PHC string. It waits for a free hashing slot
// until ctx is done.
func (m *Module) hashPassword(ctx context.Context, password string) (string, error) {
	salt := make([]byte, saltLength)
	rand.Read(salt)
	key, err := m.deriveKey(ctx, password, salt, argonMemory, argonTime, argonThreads)
	if err != nil {
		return "", err
	}
	return phc(argonMemory, argonTime, argonThreads, salt, key), nil
}

// checkPassword reports whether a password matches a hash. It waits for a free hashing
// slot until ctx is done.
func (m *Module) checkPassword(ctx context.Context, password, hashed string) (bool, error) {
	var memory, time uint32
	var threads uint8
	parts := strings.Split(hashed, "$")
	if len(parts) != 6 || parts[1] != "argon2id" || parts[2] != "v=19" {
		return false, fmt.Errorf("parse password hash: unknown format")
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &memory, &time, &threads); err != nil {
		return false, fmt.Errorf("parse password hash: %w", err)
	}
	salt, err := base64.RawStdEncoding.DecodeString(parts[4])
	if err != nil {
		return false, fmt.Errorf("parse password hash: %w", err)
	}
	want, err := base64.RawStdEncoding.DecodeString(parts[5])
	if err != nil {
		return false, fmt.Errorf("parse password hash: %w", err)
	}
	key, err := m.deriveKey(ctx, password, salt, memory, time, threads)
	return err == nil && subtle.ConstantTimeCompare(key, want) == 1, err
}

func (m *Module) deriveKey(ctx context.Context, password string, salt []byte, memory, time uint32, threads uint8) ([]byte, error) {
	select {
	case m.hashing <- struct{}{}:
		defer func() { <-m.hashing }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return argon2.IDKey([]byte(password), salt, time, memory, threads, keyLength), nil
}

// phc formats an argon2id hash as a PHC string.
func phc(memory, time uint32, threads uint8, salt, key []byte) string {
	return fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=%d$%s$%s", memory, time, threads,
		base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(key))
}
