// Package bucket reads files that are objects of a store: Amazon S3 and what
// speaks its language, Google Cloud Storage, Azure Blob Storage.
//
//	s3://bucket/folder/file.csv        gs://bucket/…        azblob://container/…
//
// The first part after the scheme is the bucket, the rest is the key. A key is
// percent-encoded where it holds % or ?; what follows a ? are parameters, see
// [Check]. Credentials are never part of a URL: they come from where the store's
// own tools look for them, the environment first.
//
// Guarantees. A reading gives the bytes of one version of an object, whole, or an
// error: a connection that breaks, or an answer that ends early, goes on where it
// stopped, with the same version or not at all ([ErrChanged]). A listing that
// breaks goes on from its last page. Nothing is ever written by reading.
//
// Failure. [AwayError] is a store that does not answer, or not now: the same call
// may succeed later. That an object is not there, or may not be read, is an answer
// and fs.ErrNotExist or fs.ErrPermission.
package bucket
