//! The built binary, from outside: processes, files, HTTP.

#[cfg(test)]
mod it {
    mod adopt;
    mod audit;
    mod collections;
    mod demo;
    mod deployment;
    mod kill;
    mod life;
    mod mistakes;
    mod models;
    mod probe;
    mod selfprobe;
}
