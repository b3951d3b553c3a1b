"""Effects of treatments: meta-learners, shrinkage, cross-fitting, and the policies made of them."""
