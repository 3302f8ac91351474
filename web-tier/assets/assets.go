// Package assets serves stylesheets, scripts and images. Their paths contain a hash of
// the content, so that browsers can cache them forever. Each is compressed once, at
// startup.
package assets

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"mime"
	"net/http"
	"path"
	"regexp"
	"strconv"
	"strings"
)

//go:embed *.css *.js *.svg
var files embed.FS

type asset struct {
	path, contentType   string
	content, compressed []byte
}

var byName, byPath = load()

// importPattern matches a script's import of another asset.
var importPattern = regexp.MustCompile(`from "\./([a-z]+\.js)"`)

func load() (byName, byPath map[string]*asset) {
	byName, byPath = map[string]*asset{}, map[string]*asset{}
	entries, err := files.ReadDir(".")
	if err != nil {
		panic(err) // the files are embedded
	}
	var add func(name string) *asset
	add = func(name string) *asset {
		if a := byName[name]; a != nil {
			return a
		}
		content, err := files.ReadFile(name)
		if err != nil {
			panic(err)
		}
		// Imports refer to the hashed path of the imported script.
		content = importPattern.ReplaceAllFunc(content, func(match []byte) []byte {
			return []byte(`from "` + add(string(importPattern.FindSubmatch(match)[1])).path + `"`)
		})
		sum := sha256.Sum256(content)
		extension := path.Ext(name)
		a := &asset{
			path:        "/assets/" + strings.TrimSuffix(name, extension) + "." + hex.EncodeToString(sum[:5]) + extension,
			contentType: mime.TypeByExtension(extension), content: content,
		}
		if extension == ".js" {
			a.contentType = "text/javascript; charset=utf-8"
		}
		var compressed bytes.Buffer
		z, _ := gzip.NewWriterLevel(&compressed, gzip.BestCompression)
		_, _ = z.Write(content)
		_ = z.Close()
		a.compressed = compressed.Bytes()
		byName[name], byPath[a.path] = a, a
		return a
	}
	for _, entry := range entries {
		add(entry.Name())
	}
	return byName, byPath
}

// Path returns the URL path of an asset. It panics if there is no such asset.
func Path(name string) string { return byName[name].path }

// Serve answers a request for an asset. It reports whether the asset exists.
func Serve(w http.ResponseWriter, r *http.Request) bool {
	a := byPath[r.URL.Path]
	if a == nil {
		return false
	}
	h := w.Header()
	h.Set("Content-Type", a.contentType)
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("Vary", "Accept-Encoding")
	content := a.content
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		content = a.compressed
	}
	h.Set("Content-Length", strconv.Itoa(len(content)))
	if r.Method != http.MethodHead {
		_, _ = w.Write(content)
	}
	return true
}
